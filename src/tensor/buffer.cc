// Host buffers: anonymous mappings of our own, and memory that somebody else keeps.
#include "tensor/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/bits.h"

namespace skein {
namespace {

constexpr uint64_t kHugePageBytes = uint64_t{2} << 20;

class MappedBuffer final : public Buffer {
 public:
  MappedBuffer(void* mapping, uint64_t mapped_bytes, uint64_t num_bytes, std::byte* data) noexcept
      : Buffer(num_bytes, data), mapping_(mapping), mapped_bytes_(mapped_bytes) {}
  ~MappedBuffer() override { munmap(mapping_, mapped_bytes_); }

 private:
  void* mapping_;
  uint64_t mapped_bytes_;
};

class BorrowedBuffer final : public Buffer {
 public:
  BorrowedBuffer(std::byte* data, uint64_t num_bytes, std::shared_ptr<const void> owner) noexcept
      : Buffer(num_bytes, data), owner_(std::move(owner)) {}

 private:
  std::shared_ptr<const void> owner_;
};

}  // namespace

// Pages come zeroed from the system, on first touch and then near the thread that touches them.
Result<std::shared_ptr<Buffer>> allocate_host_buffer(uint64_t num_bytes) {
  const uint64_t align_bytes =
      num_bytes >= kHugePageBytes ? kHugePageBytes : static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  // mmap aligns to pages only, so a big block is asked for with room to move its start.
  const uint64_t room_bytes = num_bytes >= kHugePageBytes ? kHugePageBytes : 0;
  const auto wanted_bytes = checked_add(num_bytes, kReadSlackBytes + room_bytes);
  if (!wanted_bytes) return error("memory: cannot allocate {} bytes: too many", num_bytes);
  void* mapping =
      mmap(nullptr, *wanted_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    return error("memory: cannot allocate {} bytes: {}", num_bytes,
                 std::generic_category().message(errno));
  }
  const uint64_t address = reinterpret_cast<uintptr_t>(mapping);
  std::byte* data = static_cast<std::byte*>(mapping) + (round_up(address, align_bytes) - address);
  // Advice: where the system has no huge pages, small ones serve.
  if (num_bytes >= kHugePageBytes) madvise(data, num_bytes, MADV_HUGEPAGE);
  return std::make_shared<MappedBuffer>(mapping, *wanted_bytes, num_bytes, data);
}

void use_small_pages(const Buffer& buffer) noexcept {
  // Advice, as above: an error changes nothing but the speed.
  if (buffer.host_data() != nullptr)
    madvise(buffer.host_data(), buffer.num_bytes(), MADV_NOHUGEPAGE);
}

std::shared_ptr<Buffer> borrow_host_buffer(const std::byte* data, uint64_t num_bytes,
                                           std::shared_ptr<const void> owner) {
  return std::make_shared<BorrowedBuffer>(const_cast<std::byte*>(data), num_bytes,
                                          std::move(owner));
}

}  // namespace skein
