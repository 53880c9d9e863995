// A plain read of much memory, by which the device's bandwidth is measured.
#pragma once

#include "backend/webgpu/kernels.h"

namespace skein::webgpu {

// Beyond the caches of a GPU; few enough for a software one.
uint64_t read_bytes(const GpuLimits& limits);

// Reads all of `data`, of read_bytes(), once; `out`, 256 bytes, makes it count.
Result<Kernel> read_kernel(const GpuBuffer& data, const GpuBuffer& out, const GpuLimits& limits);

}  // namespace skein::webgpu
