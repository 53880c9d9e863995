// The part of pack() in which the source, the destination or both are quantized. Inside tensor/
// only.
#pragma once

#include <optional>

#include "tensor/pack.h"

namespace skein {

// As pack(); one of the dtypes is quantized.
std::optional<RefusedBlock> pack_quant(const ConstHostMatrix& src, const HostMatrix& dst,
                                       ThreadPool& pool) noexcept;

}  // namespace skein
