// dense: y = W x for one token or many, several matrices in one parallel region.
//
// Goals: one token reads each weight once, at the speed of memory; many tokens run at the speed of
// the multipliers; any dtype and layout in cpu_kernels() (matmul_kernels.h). Non-goals: general
// BLAS (alpha, beta, transposes), integer products.
//
// Laws: results do not depend on the number of threads, bit for bit. They do depend on num_tokens
// (other kernels, other orders of summation): one token, n tokens and any chunking agree to
// rounding of f32 sums. Padding of the weights and what lies behind a row of x is never used.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "base/result.h"
#include "base/work_shares.h"
#include "tensor/tensor.h"

namespace skein {

class ThreadPool;

// What happens to finished outputs while they are in L1: y[row_begin, row_end) of one token. Called
// once for each (token, row) of a job, from any thread, in ranges of any length; `y` is the token's
// row, so that y[row_begin] is the first finished element. May write those and nothing else of y.
// The result must be a function of each element alone (and of `token` and its row), or it would
// depend on the ranges.
struct Epilogue {
  void (*apply)(void* context, float* y, uint64_t token, uint64_t row_begin,
                uint64_t row_end) = nullptr;
  void* context = nullptr;
};

// y[t][row] = sum over col of W[row][col] x[t][col], or += with `add`; then the epilogue.
struct DenseJob {
  const Tensor* weights =
      nullptr;               // [rows][cols], (kDense, dtype, layout) in cpu_kernels(), host memory
  const float* x = nullptr;  // [T][x_stride_elems], the first `cols` of each row count
  uint64_t x_stride_elems = 0;
  float* y = nullptr;  // [T][y_stride_elems], the first `rows` of each row are written
  uint64_t y_stride_elems = 0;
  bool add = false;
  Epilogue epilogue = {};
};

// Working memory of dense(), about 0.8 MiB a thread whatever the shapes, 2.8 MiB where the target
// has AMX. One dense() at a time may use it.
class DenseScratch {
 public:
  // Errors: the system has not that much memory.
  static Result<DenseScratch> create(uint32_t num_threads);

  uint32_t num_threads() const noexcept { return num_threads_; }
  // What it was made for: the target may be another one by now.
  bool has_room_for_amx() const noexcept { return has_room_for_amx_; }
  // The part of `thread`, aligned to 64 B; dense.cc knows what lies there.
  float* of_thread(uint32_t thread) const noexcept;
  // How dense() shares rows out.
  WorkShares& shares() const noexcept { return *shares_; }

 private:
  std::shared_ptr<Buffer> buffer_;
  std::unique_ptr<WorkShares> shares_;
  uint64_t thread_elems_ = 0;
  uint32_t num_threads_ = 0;
  bool has_room_for_amx_ = false;
};

// Runs all jobs in one parallel region: the rows of all of them are shared out by bytes; of few
// tokens, what a thread has not begun others may take (work_shares.h). No job may read what another
// one writes. num_tokens >= 1; scratch.num_threads() >= pool.num_threads(). kFast with tokens
// enough for that to matter rounds weights and x to bf16 where the target has AMX
// (dense_gemm_amx.h). Else it rounds x of quantized weights in their default layouts to int8 where
// the CPU has products of int8 (dense_int8.h), and of others weights and x to bf16 where the target
// has bf16 products and there are tokens enough. Sums stay f32.
void dense(std::span<const DenseJob> jobs, uint32_t num_tokens, Precision precision,
           ThreadPool& pool, DenseScratch& scratch) noexcept;

// Whether dense() does so many tokens in tiles of AMX.
bool dense_takes_tiles(uint32_t num_tokens, Precision precision,
                       const DenseScratch& scratch) noexcept;

}  // namespace skein
