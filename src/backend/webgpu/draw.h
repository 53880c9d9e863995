// Drawing tokens on the device (shaders/draw.wgsl), and where it keeps what it needs.
//
// Goals: generation without a copy of the logits and without waiting: the id goes into the next
// token's embedding and, with many others, to the host. Non-goals: several sequences.
#pragma once

#include "backend/backend.h"
#include "backend/webgpu/device_memory.h"
#include "backend/webgpu/kernels.h"

namespace skein::webgpu {

// The words of the buffer: cursor, the last id, two unused, then ids, uniforms, and for each token
// how often it was seen, faded, or less than 0.
inline constexpr uint32_t kDrawSlots = 64;
inline constexpr uint32_t kDrawIdsAt = 4, kDrawUniformsAt = kDrawIdsAt + kDrawSlots,
                          kDrawCountsAt = kDrawUniformsAt + kDrawSlots;

// Makes draws, and keeps an embedding on the device for them where the model's own is on the host:
// cold, but only what is on the device can be looked up there.
class DrawMemory {
 public:
  // Errors: more than a binding of the device can hold, no memory.
  Result<Draws> make_draws(const Dimensions& dims, const Tensor& emb, DeviceMemory& memory,
                           const GpuLimits& limits);
  // `emb` itself, or its copy, which make_draws() has made.
  const Tensor& on_device(const Tensor& emb) const noexcept {
    return emb.buffer()->host_data() != nullptr ? copy_ : emb;
  }

 private:
  Tensor copy_;
  std::shared_ptr<Buffer> source_;  // what copy_ is of
};

// What makes one draw differ from another.
void add_to_key(const SamplerOptions& options, StepKey& key);
// From the first row of `logits`.
Result<Kernel> draw_kernel(const Dimensions& dims, const SamplerOptions& options,
                           const Activation& logits, const GpuBuffer& draws,
                           const GpuLimits& limits);

}  // namespace skein::webgpu
