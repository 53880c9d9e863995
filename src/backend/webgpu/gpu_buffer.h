// GpuBuffer: a Buffer in the device's memory. Its number is never used again, so that what was made
// for one buffer is never taken for another at the same address.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "backend/webgpu/gpu.h"
#include "tensor/buffer.h"

namespace skein::webgpu {

// Shaders read weights sixteen bytes at a time and bind whole multiples of that; what lies between
// a buffer's size and its end may be read and is never used.
inline constexpr uint64_t kBufferGrainBytes = 256;

class GpuBuffer final : public Buffer {
 public:
  GpuBuffer(std::shared_ptr<Gpu> gpu, Handle<WGPUBuffer> handle, uint64_t id, uint64_t num_bytes,
            uint64_t device_bytes, std::function<void(uint64_t id)> on_release)
      : Buffer(num_bytes, nullptr),
        gpu_(std::move(gpu)),
        handle_(std::move(handle)),
        id_(id),
        device_bytes_(device_bytes),
        on_release_(std::move(on_release)) {}
  // Its memory goes at once, after what was submitted: released only, it would stay for as long as
  // the library keeps a command buffer that was never submitted.
  ~GpuBuffer() override {
    on_release_(id_);
    gpu_->api().BufferDestroy(handle_.get());
  }

  WGPUBuffer handle() const noexcept { return handle_.get(); }
  uint64_t id() const noexcept { return id_; }
  uint64_t device_bytes() const noexcept { return device_bytes_; }  // with the room behind the end

 private:
  std::shared_ptr<Gpu> gpu_;  // outlives the handle
  Handle<WGPUBuffer> handle_;
  uint64_t id_;
  uint64_t device_bytes_;
  std::function<void(uint64_t)> on_release_;
};

inline const GpuBuffer& gpu_buffer(const Buffer& buffer) noexcept {
  return static_cast<const GpuBuffer&>(buffer);
}

}  // namespace skein::webgpu
