#include "backend/webgpu/commands.h"

namespace skein::webgpu {

Handle<WGPUCommandBuffer> Commands::encode(const List& list) const {
  const WgpuApi& api = gpu_->api();
  const Handle<WGPUCommandEncoder> encoder(api.DeviceCreateCommandEncoder(gpu_->device(), nullptr),
                                           api.CommandEncoderRelease);
  if (!list.dispatches.empty()) {
    WGPUComputePassDescriptor descriptor = {};
    descriptor.label = view_of("skein");
    const Handle<WGPUComputePassEncoder> pass(
        api.CommandEncoderBeginComputePass(encoder.get(), &descriptor),
        api.ComputePassEncoderRelease);
    WGPUComputePipeline current = nullptr;
    for (const Dispatch& dispatch : list.dispatches) {
      if (dispatch.pipeline != current) {
        api.ComputePassEncoderSetPipeline(pass.get(), dispatch.pipeline);
        current = dispatch.pipeline;
      }
      api.ComputePassEncoderSetBindGroup(pass.get(), 0, dispatch.bindings, 0, nullptr);
      api.ComputePassEncoderDispatchWorkgroups(pass.get(), dispatch.x, dispatch.y, dispatch.z);
    }
    api.ComputePassEncoderEnd(pass.get());
  }
  for (const Copy& copy : list.copies) {
    api.CommandEncoderCopyBufferToBuffer(encoder.get(), copy.from, copy.from_bytes, copy.to, 0,
                                         copy.num_bytes);
  }
  return {api.CommandEncoderFinish(encoder.get(), nullptr), api.CommandBufferRelease};
}

void Commands::submit() {
  if (empty()) return;
  is_repeated_ = list_ == last_;
  const Handle<WGPUCommandBuffer> commands =
      is_repeated_ && ahead_ ? std::move(ahead_) : encode(list_);
  ahead_ = {};
  const WGPUCommandBuffer raw = commands.get();
  gpu_->api().QueueSubmit(gpu_->queue(), 1, &raw);
  num_dispatches_ += list_.dispatches.size();
  std::swap(list_, last_);
  list_.dispatches.clear();
  list_.copies.clear();
}

void Commands::encode_ahead() {
  if (is_repeated_ && !ahead_) ahead_ = encode(last_);
}

void Commands::forget() {
  ahead_ = {};
  last_ = {};
  is_repeated_ = false;
}

}  // namespace skein::webgpu
