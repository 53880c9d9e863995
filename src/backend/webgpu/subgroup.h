// What a device does not say of its subgroups, asked of a kernel.
#pragma once

#include <memory>

#include "backend/webgpu/gpu.h"

namespace skein::webgpu {

// Threads of a subgroup that are neighbours in the workgroup; 0: they are none, or subgroups
// differ. The device has subgroups.
Result<uint32_t> measure_subgroup(const std::shared_ptr<Gpu>& gpu);

}  // namespace skein::webgpu
