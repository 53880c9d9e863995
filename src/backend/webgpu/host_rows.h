// Rows of a matrix that stays with the host: embeddings, of which a token needs one.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace skein::webgpu {

// Row `row` as floats, emb.cols() of them, whatever its dtype and layout.
void gather_row(const Tensor& emb, uint64_t row, std::span<float> out);

}  // namespace skein::webgpu
