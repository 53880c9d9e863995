// Whether tensor cores do here what they should: a product of theirs against one without them.
//
// The library calls them experimental, and drivers differ: what was not tried is not used.
// Goals: a device whose compiler refuses the shader, or whose products are wrong, goes on without
// them. Non-goals: speed.
#pragma once

#include <functional>

#include "backend/webgpu/device_memory.h"
#include "backend/webgpu/kernels.h"

namespace skein::webgpu {

// Runs matrices of both layouts with few and many tokens. `rewrite`, if any, is given the kernels
// first: a test without tensor cores puts something else in their place. Errors: what is wrong.
Status check_tensor_cores(DeviceMemory& memory, Kernels& kernels, const GpuLimits& limits,
                          const std::function<void(Kernel&)>& rewrite = {});

}  // namespace skein::webgpu
