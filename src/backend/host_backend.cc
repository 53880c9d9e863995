#include "backend/host_backend.h"

#include <cstring>

#include "base/check.h"

namespace skein {
namespace {

bool contains(const Buffer& buffer, uint64_t offset_bytes, uint64_t num_bytes) {
  return buffer.host_data() != nullptr && offset_bytes <= buffer.num_bytes() &&
         num_bytes <= buffer.num_bytes() - offset_bytes;
}

}  // namespace

Result<std::shared_ptr<Buffer>> HostBackend::allocate(uint64_t num_bytes) {
  return allocate_host_buffer(num_bytes);
}

Status HostBackend::upload(Buffer& buffer, uint64_t offset_bytes,
                           std::span<const std::byte> bytes) {
  CHECK(contains(buffer, offset_bytes, bytes.size()));
  // An empty span may have no address, which memcpy does not allow.
  if (!bytes.empty()) std::memcpy(buffer.host_data() + offset_bytes, bytes.data(), bytes.size());
  return {};
}

Status HostBackend::download(const Buffer& buffer, uint64_t offset_bytes,
                             std::span<std::byte> bytes) {
  CHECK(contains(buffer, offset_bytes, bytes.size()));
  if (!bytes.empty()) std::memcpy(bytes.data(), buffer.host_data() + offset_bytes, bytes.size());
  return {};
}

Status HostBackend::finish() { return {}; }

}  // namespace skein
