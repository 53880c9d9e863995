// The table of gather.cc. Internal to the CPU backend.
#pragma once

#include <span>

#include "backend/kernel_registry.h"

namespace skein {

std::span<const KernelInfo> gather_kernels() noexcept;

}  // namespace skein
