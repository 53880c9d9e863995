// The library's functions with some that watch what goes through them, or fail when they are told
// to. Only tests include it.
//
// One for all devices, since the library's functions carry no data of the caller's: a test clears
// it before it looks. Not for several threads.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "backend/webgpu/wgpu_api.h"
#include "base/check.h"

namespace skein::webgpu::testing {

struct Watched {
  // Labels in the order of the calls.
  std::vector<std::string> pipelines, passes, groups;
  std::vector<std::string> shaders;  // their texts
  // Buffers that are made before the device has no memory left; negative: no end of it.
  int buffers_left = -1;

  void clear() { *this = {}; }
};
inline Watched watched;

namespace internal {
inline const WgpuApi* real = nullptr;
inline WGPUUncapturedErrorCallbackInfo on_error = {};  // of the last device

inline WGPUFuture request_device(WGPUAdapter adapter, const WGPUDeviceDescriptor* descriptor,
                                 WGPURequestDeviceCallbackInfo callback) {
  on_error = descriptor->uncapturedErrorCallbackInfo;
  return real->AdapterRequestDevice(adapter, descriptor, callback);
}

// As the library does it: the error goes to the callback, and what comes back is no null.
inline WGPUBuffer create_buffer(WGPUDevice device, const WGPUBufferDescriptor* descriptor) {
  const bool fails = watched.buffers_left == 0;
  if (watched.buffers_left > 0) --watched.buffers_left;
  const WGPUBuffer buffer = real->DeviceCreateBuffer(device, descriptor);
  if (fails) {
    on_error.callback(&device, WGPUErrorType_OutOfMemory,
                      view_of("Not enough memory left.\n\nCaused by:\n  a test"),
                      on_error.userdata1, on_error.userdata2);
  }
  return buffer;
}

inline WGPUShaderModule create_shader(WGPUDevice device,
                                      const WGPUShaderModuleDescriptor* descriptor,
                                      WGPUShaderRuntimeChecks checks) {
  const auto* source = reinterpret_cast<const WGPUShaderSourceWGSL*>(descriptor->nextInChain);
  watched.shaders.push_back(text_of(source->code));
  return real->DeviceCreateShaderModuleTrusted(device, descriptor, checks);
}

inline WGPUComputePipeline create_pipeline(WGPUDevice device,
                                           const WGPUComputePipelineDescriptor* descriptor) {
  watched.pipelines.push_back(text_of(descriptor->label));
  return real->DeviceCreateComputePipeline(device, descriptor);
}

inline WGPUComputePassEncoder begin_pass(WGPUCommandEncoder encoder,
                                         const WGPUComputePassDescriptor* descriptor) {
  watched.passes.push_back(text_of(descriptor->label));
  return real->CommandEncoderBeginComputePass(encoder, descriptor);
}

inline void push_group(WGPUComputePassEncoder pass, WGPUStringView label) {
  watched.groups.push_back(text_of(label));
  real->ComputePassEncoderPushDebugGroup(pass, label);
}
}  // namespace internal

inline const WgpuApi& watching_api() {
  static const WgpuApi api = [] {
    const Result<const WgpuApi*> loaded = load_wgpu();
    CHECK(loaded.has_value());
    internal::real = *loaded;
    WgpuApi watching = **loaded;
    watching.AdapterRequestDevice = internal::request_device;
    watching.DeviceCreateBuffer = internal::create_buffer;
    watching.DeviceCreateShaderModuleTrusted = internal::create_shader;
    watching.DeviceCreateComputePipeline = internal::create_pipeline;
    watching.CommandEncoderBeginComputePass = internal::begin_pass;
    watching.ComputePassEncoderPushDebugGroup = internal::push_group;
    return watching;
  }();
  return api;
}

}  // namespace skein::webgpu::testing
