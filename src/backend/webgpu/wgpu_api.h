// wgpu-native's functions, found in its library at run time.
//
// Goals: a program that starts on machines without the library and without any GPU driver, and says
// in one line what is missing when the backend is asked for. Non-goals: wrapping the API: callers
// use webgpu.h's types.
//
// Thirty-odd exported functions of wgpu-native 29 abort the process ("not implemented"), among them
// every ...SetLabel, wgpuInstanceWaitAny and wgpuGetProcAddress: only what stands in this list is
// used.
#pragma once

#include <webgpu.h>
#include <wgpu.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace skein::webgpu {

#define SKEIN_WGPU_FUNCTIONS(F)           \
  F(CreateInstance)                       \
  F(InstanceAddRef)                       \
  F(InstanceRelease)                      \
  F(InstanceEnumerateAdapters)            \
  F(AdapterGetInfo)                       \
  F(AdapterInfoFreeMembers)               \
  F(AdapterGetLimits)                     \
  F(AdapterHasFeature)                    \
  F(AdapterRequestDevice)                 \
  F(AdapterRelease)                       \
  F(DeviceGetQueue)                       \
  F(DevicePoll)                           \
  F(DevicePushErrorScope)                 \
  F(DevicePopErrorScope)                  \
  F(DeviceCreateBuffer)                   \
  F(DeviceCreateShaderModuleTrusted)      \
  F(DeviceCreateBindGroupLayout)          \
  F(DeviceCreatePipelineLayout)           \
  F(DeviceCreateComputePipeline)          \
  F(DeviceCreateBindGroup)                \
  F(DeviceCreateCommandEncoder)           \
  F(DeviceCreateQuerySet)                 \
  F(DeviceDestroy)                        \
  F(DeviceRelease)                        \
  F(BufferMapAsync)                       \
  F(BufferGetConstMappedRange)            \
  F(BufferUnmap)                          \
  F(BufferDestroy)                        \
  F(BufferRelease)                        \
  F(QueueSubmit)                          \
  F(QueueSubmitForIndex)                  \
  F(QueueWriteBuffer)                     \
  F(QueueGetTimestampPeriod)              \
  F(QueueRelease)                         \
  F(CommandEncoderBeginComputePass)       \
  F(CommandEncoderCopyBufferToBuffer)     \
  F(CommandEncoderResolveQuerySet)        \
  F(CommandEncoderFinish)                 \
  F(CommandEncoderRelease)                \
  F(CommandBufferRelease)                 \
  F(ComputePassEncoderSetPipeline)        \
  F(ComputePassEncoderSetBindGroup)       \
  F(ComputePassEncoderDispatchWorkgroups) \
  F(ComputePassEncoderPushDebugGroup)     \
  F(ComputePassEncoderPopDebugGroup)      \
  F(ComputePassEncoderWriteTimestamp)     \
  F(ComputePassEncoderEnd)                \
  F(ComputePassEncoderRelease)            \
  F(ShaderModuleRelease)                  \
  F(BindGroupLayoutRelease)               \
  F(PipelineLayoutRelease)                \
  F(QuerySetRelease)                      \
  F(ComputePipelineRelease)               \
  F(BindGroupRelease)

struct WgpuApi {
#define SKEIN_WGPU_DECLARE(name) decltype(&::wgpu##name) name = nullptr;
  SKEIN_WGPU_FUNCTIONS(SKEIN_WGPU_DECLARE)
#undef SKEIN_WGPU_DECLARE
};

// The library's functions, loaded once a process and never unloaded (drivers leave threads behind).
// Looked for in $SKEIN_WGPU_LIBRARY (a file; then nowhere else), beside the program, in
// ../lib/skein of its folder, where the build found it, and where the system looks.
Result<const WgpuApi*> load_wgpu();

inline WGPUStringView view_of(std::string_view text) noexcept { return {text.data(), text.size()}; }
inline std::string text_of(WGPUStringView view) {
  if (view.data == nullptr) return {};
  return view.length == WGPU_STRLEN ? std::string(view.data) : std::string(view.data, view.length);
}

}  // namespace skein::webgpu
