// cpu_kernels(): every (op, dtype, layout) that the CPU backend's matrix kernels do.
#pragma once

#include <span>

#include "backend/kernel_registry.h"

namespace skein {

// Assembled from the tables of gather.cc, dense_*.cc and sparse_*.cc.
std::span<const KernelInfo> cpu_kernels() noexcept;

}  // namespace skein
