// DeviceMemory: buffers of the device, and the way of bytes between them and the host.
//
// Goals: what the queue has not run yet comes first; a model larger than the staging memory loads
// without piling it up; no copy of the logits waits for a second round trip. Non-goals: steps.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "backend/webgpu/commands.h"
#include "backend/webgpu/gpu_buffer.h"

namespace skein::webgpu {

class DeviceMemory {
 public:
  // `on_release` is called with the number of every buffer that goes.
  DeviceMemory(std::shared_ptr<Gpu> gpu, Commands& commands,
               std::function<void(uint64_t id)> on_release)
      : gpu_(std::move(gpu)), commands_(commands), on_release_(std::move(on_release)) {}

  Result<std::shared_ptr<GpuBuffer>> allocate(uint64_t num_bytes);

  // Any offset and size inside the buffer.
  Status upload(const GpuBuffer& buffer, uint64_t offset_bytes, std::span<const std::byte> bytes);
  Status download(const GpuBuffer& buffer, uint64_t offset_bytes, std::span<std::byte> bytes);

  // Has the range, whole words, copied to the host with the next submission, so that a download()
  // from inside it costs no second round trip, until forget_copy(). While nobody downloads them,
  // nothing is copied.
  void copy_with_next(const GpuBuffer& buffer, uint64_t offset_bytes, uint64_t num_bytes);
  // To be called before anything else is written on the device.
  void forget_copy() noexcept {
    has_copy_ = false;
    if (std::exchange(is_copy_pending_, false)) wants_copies_ = false;
  }

  // Gives what waits to the device, and encodes the same once more while it works.
  Status submit();
  // Submits and waits for all of it.
  Status finish();

 private:
  Status reserve(Handle<WGPUBuffer>& buffer, uint64_t& capacity, uint64_t num_bytes);
  void write(const GpuBuffer& buffer, uint64_t offset_bytes, std::span<const std::byte> bytes);

  std::shared_ptr<Gpu> gpu_;
  Commands& commands_;
  std::function<void(uint64_t)> on_release_;
  uint64_t next_id_ = 1;
  uint64_t staged_bytes_ = 0;  // written since the queue was last waited for

  Handle<WGPUBuffer> staging_;  // of download()
  uint64_t staging_bytes_ = 0;

  Handle<WGPUBuffer> copy_staging_;
  uint64_t copy_staging_bytes_ = 0;
  bool is_copy_pending_ = false;  // submitted or about to be, not yet read
  bool has_copy_ = false;
  bool wants_copies_ = true;  // the last one was wanted
  uint64_t copy_id_ = 0, copy_begin_ = 0;
  std::vector<std::byte> copy_;
};

}  // namespace skein::webgpu
