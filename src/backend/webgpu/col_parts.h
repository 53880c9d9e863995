// Parts of the cols of a matrix that no binding holds and no cut by rows divides: col_major, where
// the rows of one col lie side by side (ffn.value of 7.2B in f16 is 128 MiB, all that some devices
// bind).
//
// Goals: each part is a matrix of its own, for x += W y, one after the other. Non-goals: quantized
// matrices, whose scales lie elsewhere (the largest model's fit), products that are no sum.
#pragma once

#include <vector>

#include "backend/rwkv7.h"
#include "backend/webgpu/gpu.h"

namespace skein::webgpu {

struct ColPart {
  Tensor weights;
  Activation x;  // its cols
};

// Whether one binding holds all codes of the matrix.
bool fits_binding(const Tensor& weights, const GpuLimits& limits);

// Empty: there is no such cut. Otherwise as few parts as there are, of about as many cols, a
// multiple of 128 of them.
std::vector<ColPart> col_parts(const Tensor& weights, const Activation& x, const GpuLimits& limits);

}  // namespace skein::webgpu
