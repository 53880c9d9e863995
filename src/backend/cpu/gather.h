// gather: one row of a matrix as f32, the embedding of a token.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace skein {

// y[col] = W[row][col] for all cols; row < rows. W in any layout of cpu_kernels() for kGather:
// `row_major` runs at the speed of memory, the others element by element.
void gather_row(const Tensor& weights, uint64_t row, float* y) noexcept;

}  // namespace skein
