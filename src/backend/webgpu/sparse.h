// Sparse products on the device: x += W f for up to sixteen tokens where most of f is zero and the
// rows of a col lie side by side (the seed's idea 1).
//
// Goals: the bytes of zeros are not read, and enough workgroups to read the others at the speed of
// memory: the cols are split between workgroups, each leaves sums of its own, and the next kernel
// that reads x adds them, so no dispatch is spent on it. Every token reads the cols of its own:
// what several ask for comes from the device's cache. Non-goals: more tokens, whose products are
// worth tiles.
#pragma once

#include "backend/kernel_form.h"
#include "backend/rwkv7.h"
#include "backend/webgpu/kernels.h"

namespace skein::webgpu {

// How the cols are split.
struct SparseSplit {
  uint32_t num_splits = 0;  // 0: this product is not for sparse_kernel()
  uint32_t split_cols = 0;
};
SparseSplit sparse_split(const Tensor& weights, const Activation& x, uint32_t num_tokens,
                         const GpuLimits& limits);

// Where a product's sums go: [tokens][num_splits][rows] f32, of all products that are summed;
// its own splits from `first_split` on.
struct SparseSums {
  const Activation* sums = nullptr;
  uint32_t num_splits = 0;
  uint32_t first_split = 0;
};

// sums[t][first_split + s] = W[:, cols of split s] x[t][cols of split s]
Result<Kernel> sparse_kernel(const Tensor& weights, const Activation& x, uint32_t num_tokens,
                             const SparseSums& out, const KernelForm& form,
                             const GpuLimits& limits);

}  // namespace skein::webgpu
