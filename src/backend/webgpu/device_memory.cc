#include "backend/webgpu/device_memory.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"
#include "base/check.h"

namespace skein::webgpu {
namespace {

constexpr uint64_t kWordBytes = 4;
// The queue keeps a copy of what was written until it has run: so much of it at once.
constexpr uint64_t kMaxStagedBytes = uint64_t{128} << 20;
constexpr uint64_t kMaxChunkBytes = uint64_t{32} << 20;

}  // namespace

Result<std::shared_ptr<GpuBuffer>> DeviceMemory::allocate(uint64_t num_bytes) {
  const auto with_slack = checked_add(num_bytes, kReadSlackBytes + kBufferGrainBytes);
  if (!with_slack) return error("webgpu: cannot allocate {} bytes: too many", num_bytes);
  const uint64_t device_bytes = *with_slack / kBufferGrainBytes * kBufferGrainBytes;
  SKEIN_ASSIGN_OR_RETURN(
      Handle<WGPUBuffer> handle,
      gpu_->create_buffer(
          device_bytes, WGPUBufferUsage_Storage | WGPUBufferUsage_CopySrc | WGPUBufferUsage_CopyDst,
          "skein"));
  return std::make_shared<GpuBuffer>(gpu_, std::move(handle), next_id_++, num_bytes, device_bytes,
                                     on_release_);
}

void DeviceMemory::write(const GpuBuffer& buffer, uint64_t offset_bytes,
                         std::span<const std::byte> bytes) {
  if (gpu_->is_lost()) return;
  gpu_->api().QueueWriteBuffer(gpu_->queue(), buffer.handle(), offset_bytes, bytes.data(),
                               bytes.size());
  staged_bytes_ += bytes.size();
  if (staged_bytes_ < kMaxStagedBytes) return;
  gpu_->api().QueueSubmit(gpu_->queue(), 0, nullptr);
  gpu_->wait();
  staged_bytes_ = 0;
}

Status DeviceMemory::upload(const GpuBuffer& buffer, uint64_t offset_bytes,
                            std::span<const std::byte> bytes) {
  CHECK(offset_bytes <= buffer.num_bytes() && bytes.size() <= buffer.num_bytes() - offset_bytes);
  commands_.submit();
  forget_copy();
  if (bytes.empty()) return {};
  const uint64_t lead = offset_bytes % kWordBytes;
  const uint64_t body = lead == 0 ? bytes.size() / kWordBytes * kWordBytes : 0;
  for (uint64_t done = 0; done < body; done += kMaxChunkBytes) {
    write(buffer, offset_bytes + done, bytes.subspan(done, std::min(kMaxChunkBytes, body - done)));
  }
  if (body < bytes.size()) {
    // The device takes whole words: what else is in the first and the last one stays.
    const std::span<const std::byte> rest = bytes.subspan(body);
    const uint64_t begin = offset_bytes + body - lead;
    std::vector<std::byte> words(round_up<uint64_t>(lead + rest.size(), kWordBytes));
    SKEIN_RETURN_IF_ERROR(download(buffer, begin, words));
    std::copy(rest.begin(), rest.end(), words.begin() + static_cast<ptrdiff_t>(lead));
    write(buffer, begin, words);
  }
  return gpu_->take_error();
}

Status DeviceMemory::reserve(Handle<WGPUBuffer>& buffer, uint64_t& capacity, uint64_t num_bytes) {
  if (capacity >= num_bytes) return {};
  // Commands may name the old one.
  commands_.submit();
  commands_.forget();
  capacity = 0;
  const uint64_t wanted = round_up<uint64_t>(num_bytes, 65536);
  SKEIN_ASSIGN_OR_RETURN(
      buffer, gpu_->create_buffer(wanted, WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst,
                                  "skein staging"));
  capacity = wanted;
  return {};
}

Status DeviceMemory::download(const GpuBuffer& buffer, uint64_t offset_bytes,
                              std::span<std::byte> bytes) {
  CHECK(offset_bytes <= buffer.device_bytes() &&
        bytes.size() <= buffer.device_bytes() - offset_bytes);
  if (bytes.empty()) return {};
  const bool is_of_copy = buffer.id() == copy_id_ && offset_bytes >= copy_begin_ &&
                          offset_bytes + bytes.size() <= copy_begin_ + copy_.size();
  if (has_copy_ && is_of_copy) {
    std::memcpy(bytes.data(), copy_.data() + (offset_bytes - copy_begin_), bytes.size());
    return {};
  }
  if (buffer.id() == copy_id_ && offset_bytes == copy_begin_) wants_copies_ = true;
  if (is_copy_pending_ && is_of_copy) {
    // The copy came with the last submission.
    SKEIN_RETURN_IF_ERROR(submit());
    is_copy_pending_ = false;
    SKEIN_RETURN_IF_ERROR(gpu_->read_mapped(copy_staging_.get(), copy_));
    has_copy_ = true;
    return download(buffer, offset_bytes, bytes);
  }
  SKEIN_RETURN_IF_ERROR(finish());
  const uint64_t begin = offset_bytes / kWordBytes * kWordBytes;
  const uint64_t end = round_up<uint64_t>(offset_bytes + bytes.size(), kWordBytes);
  std::vector<std::byte> words;
  for (uint64_t at = begin; at < end; at += kMaxChunkBytes) {
    const uint64_t count = std::min(kMaxChunkBytes, end - at);
    SKEIN_RETURN_IF_ERROR(reserve(staging_, staging_bytes_, count));
    commands_.add(Copy{buffer.handle(), at, staging_.get(), count});
    commands_.submit();
    words.resize(count);
    SKEIN_RETURN_IF_ERROR(gpu_->read_mapped(staging_.get(), words));
    const uint64_t from = std::max(at, offset_bytes);
    const uint64_t to = std::min(at + count, offset_bytes + bytes.size());
    std::memcpy(bytes.data() + (from - offset_bytes), words.data() + (from - at), to - from);
  }
  return {};
}

void DeviceMemory::copy_with_next(const GpuBuffer& buffer, uint64_t offset_bytes,
                                  uint64_t num_bytes) {
  CHECK(offset_bytes % kWordBytes == 0 && num_bytes % kWordBytes == 0);
  // Nobody wanted the last one: the next who wants one makes a round trip of its own, once.
  if (is_copy_pending_) wants_copies_ = false;
  has_copy_ = is_copy_pending_ = false;
  copy_id_ = buffer.id();
  copy_begin_ = offset_bytes;
  copy_.resize(num_bytes);
  // Without the memory the download makes its own round trip.
  if (!wants_copies_ || !reserve(copy_staging_, copy_staging_bytes_, num_bytes)) return;
  commands_.add(Copy{buffer.handle(), offset_bytes, copy_staging_.get(), num_bytes});
  is_copy_pending_ = true;
}

Status DeviceMemory::submit() {
  commands_.submit();
  commands_.encode_ahead();
  return {};
}

Status DeviceMemory::finish() {
  SKEIN_RETURN_IF_ERROR(submit());
  gpu_->wait();
  staged_bytes_ = 0;
  return gpu_->take_error();
}

}  // namespace skein::webgpu
