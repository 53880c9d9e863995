// sparse: y += W x where most of x is zero (ffn.value after relu^2), W in `col_major` or any other
// layout that dense() has.
//
// Goals, in `col_major`: one token reads only the columns whose x is not zero, at the speed of
// memory; many tokens skip the products with zero; a dense x costs no more than dense() would. In
// the other layouts sparse() is dense(). Non-goals: sparse weights.
//
// Laws: results do not depend on the number of threads, bit for bit. In `col_major` products with
// zero (of either sign) are skipped: an infinite or NaN weight counts only where its x is not zero,
// unless x is so dense that the dense product is taken, where it makes NaN, as in other layouts.
// The scales of a block of cols count where one of its x is not zero.
#pragma once

#include <cstdint>
#include <memory>

#include "backend/cpu/dense.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace skein {

class ThreadPool;

// Working memory of sparse(): lists of non-zero columns, partial sums, decoded weights. One
// sparse() at a time may use it.
class SparseScratch {
 public:
  // For matrices of at most max_rows x max_cols and at most max_tokens tokens (more tokens are done
  // in several passes). Errors: the system has not that much memory.
  static Result<SparseScratch> create(uint32_t num_threads, uint32_t max_tokens, uint64_t max_rows,
                                      uint64_t max_cols);

 private:
  friend class SparseCall;
  std::shared_ptr<Buffer> buffer_;
  DenseScratch dense_;
  uint32_t num_threads_ = 0;
  uint32_t max_tokens_ = 0;  // of one pass
  uint64_t max_rows_ = 0;
  uint64_t max_cols_ = 0;
};

// y[t][row] += sum over col of W[row][col] x[t][col]. (kSparse, dtype, layout) must be in
// cpu_kernels(). kFast does what dense() does with it where the dense product is taken in tiles,
// and changes nothing else.
void sparse(const Tensor& weights, const float* x, uint64_t x_stride_elems, float* y,
            uint64_t y_stride_elems, uint32_t num_tokens, Precision precision, ThreadPool& pool,
            SparseScratch& scratch) noexcept;

}  // namespace skein
