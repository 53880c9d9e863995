// Sparse products on the device: x += W f for one token where most of f is zero and the rows of a
// col lie side by side (the seed's idea 1).
//
// Goals: the bytes of zeros are not read, and enough workgroups to read the others at the speed of
// memory: the cols are split between workgroups, each leaves sums of its own, and the next kernel
// that reads x adds them, so no dispatch is spent on it. Non-goals: many tokens.
#pragma once

#include "backend/kernel_form.h"
#include "backend/rwkv7.h"
#include "backend/webgpu/kernels.h"

namespace skein::webgpu {

// What sums a sparse product leaves: [num_splits][rows] f32.
struct SparseSplit {
  uint32_t num_splits = 0;  // 0: these weights are not for sparse_kernel()
  uint32_t split_cols = 0;
};
SparseSplit sparse_split(const Tensor& weights, const Activation& x, const GpuLimits& limits);

// sums[s] = W[:, cols of split s] x[cols of split s]
Result<Kernel> sparse_kernel(const Tensor& weights, const Activation& x, const Activation& sums,
                             const KernelForm& form, const GpuLimits& limits);

}  // namespace skein::webgpu
