// Buffer: a block of memory of one backend, shared by the tensors that lie in it.
//
// Goals: tensors name memory as (buffer, byte offset), never as a bare pointer, so that the same
// Tensor serves a host block, a mapped file, a WebGPU buffer and a CUDA allocation. Non-goals:
// reference counting of parts, growing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"

namespace skein {

class Buffer {
 public:
  virtual ~Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  uint64_t num_bytes() const noexcept { return num_bytes_; }

  // The memory as the host sees it, or nullptr where only the device does. For a buffer over a
  // mapped file, writing through it is a fault.
  std::byte* host_data() const noexcept { return host_data_; }

 protected:
  Buffer(uint64_t num_bytes, std::byte* host_data) noexcept
      : num_bytes_(num_bytes), host_data_(host_data) {}

 private:
  uint64_t num_bytes_;
  std::byte* host_data_;
};

// Bytes behind the last element of a host buffer that a SIMD kernel may read (never use): one
// 64-byte vector and the prefetch distance need no check at the end of a run.
inline constexpr uint64_t kReadSlackBytes = 128;

// Zero-filled host memory, aligned to 2 MiB from 2 MiB on (and advised to be huge pages), to 4 KiB
// below; kReadSlackBytes readable bytes lie behind it. Fails with one line where the system has not
// that much memory.
Result<std::shared_ptr<Buffer>> allocate_host_buffer(uint64_t num_bytes);

// Asks for the smallest pages for a buffer of allocate_host_buffer() that nobody has written yet;
// of no other host memory. Where the buffer is the device's, nothing happens.
void use_small_pages(const Buffer& buffer) noexcept;

// Memory that `owner` keeps alive: a mapped file, a test's array.
std::shared_ptr<Buffer> borrow_host_buffer(const std::byte* data, uint64_t num_bytes,
                                           std::shared_ptr<const void> owner);

}  // namespace skein
