// SparseKernel: what sparse() needs to know about one dtype of `col_major`. Internal to the CPU
// backend.
//
// A list of non-zeros is cut for partial sums only where a block of cols begins, so that a kernel
// for block codecs meets each block's scales once.
#pragma once

#include <cstdint>
#include <span>

#include "backend/kernel_registry.h"
#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace skein {

// A block of weights for many tokens, decoded to [col][kSparseRows] f32: 128 KiB, part of L2. Rows
// are 8 AVX-512 sums, as many as hide the latency of FMA. Measured 2026-11-23, Zen 5 under load,
// 2048 x 8192, 512 tokens, CPU time at 10 % (30 %) density: 64 cols, which fit L1, 53 (80) ms, as a
// walk of 6 is too short to predict; 128: 36 (90); 256: 35 (89); 512: 39 (130).
inline constexpr uint32_t kSparseRows = 128;
inline constexpr uint32_t kSparseCols = 256;

// Non-zero elements of one row of x, a part of the list of all.
struct NonZeros {
  const uint32_t* cols;
  const float* values;
  uint64_t count;
  // This many elements follow that the same thread sums next, for the same rows: a kernel asks for
  // the columns of the first ones (of block codecs those of the first block).
  uint64_t num_next = 0;
  bool is_asked_for = false;  // this part has been such a next one
};

struct SparseKernel {
  KernelInfo info;
  // y[row - rows.begin] = or += sum over the non-zeros of W[row][col] * value. rows.begin is a
  // multiple of 16.
  void (*add_cols)(const Tensor& weights, Range rows, NonZeros x, float* y, bool add);
  // panel[col][kSparseRows] = W[rows][cols], at most kSparseRows x kSparseCols.
  void (*decode_block)(const Tensor& weights, Range rows, Range cols, float* panel);
};

// The tables of sparse_col_major.cc and sparse_quant_col_major.cc, and both.
std::span<const SparseKernel> sparse_plain_kernels() noexcept;
std::span<const SparseKernel> sparse_quant_kernels() noexcept;
std::span<const SparseKernel> sparse_kernels() noexcept;

// What sparse() does as dense() does, without skipping: all of dense_kernels() that have no
// SparseKernel.
std::span<const KernelInfo> sparse_dense_kernels() noexcept;

// The kernel that skips zeros, or nullptr where there is none for the dtype and layout.
const SparseKernel* sparse_kernel_of(const Tensor& weights) noexcept;

// The non-zero elements of x[0, num_cols) in order; `cols` and `values` need room for 16 more than
// there are. Returns the count.
uint64_t compact(const float* x, uint64_t num_cols, uint32_t* cols, float* values) noexcept;
// The same with cols as 16 bits; num_cols <= kSparseCols.
uint32_t compact_block(const float* x, uint32_t num_cols, uint16_t* cols, float* values) noexcept;

// y[0, num_rows) += sum over i < count of panel[cols[i]][0, num_rows) * values[i].
void walk(const float* panel, const uint16_t* cols, const float* values, uint32_t count,
          uint32_t num_rows, float* y) noexcept;

// y[i] += partials[0][i] + ... + partials[num_partials - 1][i], summed in this order.
void add_partials(const float* partials, uint64_t stride_elems, uint32_t num_partials,
                  uint64_t num_rows, float* y) noexcept;

}  // namespace skein
