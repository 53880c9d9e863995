// decode_row: one row of a quantized matrix as floats, for embeddings, of which a token reads one.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace skein {

// out[col] = W[row][col] as the codec defines it (codec.h), bit for bit; out.size() == cols. W is
// quantized, in any layout, in host memory. Cost: 1 to 2 ns an element in `row_major`.
void decode_row(const Tensor& weights, uint64_t row, std::span<float> out) noexcept;

}  // namespace skein
