#include "backend/cpu/dense.h"

#include <algorithm>
#include <array>
#include <vector>

#include "backend/cpu/cpu_target.h"
#include "backend/cpu/dense_gemm.h"
#include "backend/cpu/dense_kernel.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/thread_pool.h"

namespace skein {
namespace {

// A thread's part of the scratch, plus one and a half pages: parts that start at the same place of
// a page would compete for the same cache sets.
constexpr uint64_t kThreadElems =
    round_up(kGemmScratchElems * sizeof(float), uint64_t{4096}) / sizeof(float) + 1024 + 512;

// From here on bf16 panels beat exact matvecs (interleave, Zen 5, 2026-11-23: 16 tokens 730 us and
// 640 us, 32 tokens 1020 us and 1200 us); below, fast is exact.
constexpr uint32_t kMinFastTokens = 20;

// Up to here rows are shared out in groups of 16, so that small matrices keep all threads busy;
// then in whole panels.
constexpr uint32_t kMaxGroupTokens = 8;

// What a unit of rows of a job costs: its bytes, since few tokens wait for memory. For many tokens
// the elements would count, but jobs of one call rarely differ in dtype.
uint64_t unit_bytes(const DenseJob& job, uint32_t unit_rows) {
  return job.weights->cols() * unit_rows * element_bits(job.weights->dtype()) / 8;
}

uint64_t num_units(const DenseJob& job, uint32_t unit_rows) {
  return ceil_div<uint64_t>(job.weights->rows(), unit_rows);
}

// Calls f(job, rows) for the pieces of `thread`: bytes [total * thread / n, total * (thread + 1) /
// n) of all jobs in a row; a unit belongs to the thread in whose part it begins.
template <class F>
void for_each_piece(std::span<const DenseJob> jobs, uint32_t unit_rows, uint32_t thread,
                    uint32_t num_threads, F&& f) {
  uint64_t total = 0;
  for (const DenseJob& job : jobs) total += num_units(job, unit_rows) * unit_bytes(job, unit_rows);
  const uint64_t begin = total / num_threads * thread + total % num_threads * thread / num_threads;
  const uint64_t end =
      total / num_threads * (thread + 1) + total % num_threads * (thread + 1) / num_threads;
  uint64_t start = 0;  // of the job
  for (const DenseJob& job : jobs) {
    const uint64_t bytes = unit_bytes(job, unit_rows);
    const uint64_t units = num_units(job, unit_rows);
    const auto first_from = [&](uint64_t place) {
      return place <= start ? 0 : std::min(units, ceil_div(place - start, bytes));
    };
    const uint64_t first = first_from(begin) * unit_rows;
    const uint64_t last = std::min(first_from(end) * unit_rows, job.weights->rows());
    if (first < last) f(job, Range{first, last});
    start += units * bytes;
  }
}

void run_matvec(const DenseKernel& kernel, const DenseJob& job, Range rows, uint32_t num_tokens) {
  kernel.matvec({*job.weights, rows, job.x, job.x_stride_elems, job.y, job.y_stride_elems,
                 num_tokens, job.add});
  if (job.epilogue.apply == nullptr) return;
  for (uint64_t t = 0; t < num_tokens; ++t) {
    job.epilogue.apply(job.epilogue.context, job.y + t * job.y_stride_elems, t, rows.begin,
                       rows.end);
  }
}

const GemmOps& gemm_ops_of(bool fast) {
  if (fast) {
    if (const GemmOps* ops = gemm_ops_bf16(); ops != nullptr) return *ops;
  }
  return gemm_ops_f32();
}

}  // namespace

Result<DenseScratch> DenseScratch::create(uint32_t num_threads) {
  DenseScratch scratch;
  SKEIN_ASSIGN_OR_RETURN(scratch.buffer_,
                         allocate_host_buffer(num_threads * kThreadElems * sizeof(float)));
  scratch.num_threads_ = num_threads;
  return scratch;
}

float* DenseScratch::of_thread(uint32_t thread) const noexcept {
  DCHECK(thread < num_threads_);
  return reinterpret_cast<float*>(buffer_->host_data()) + thread * kThreadElems;
}

void dense(std::span<const DenseJob> jobs, uint32_t num_tokens, Precision precision,
           ThreadPool& pool, DenseScratch& scratch) noexcept {
  DCHECK(num_tokens > 0 && scratch.num_threads() >= pool.num_threads());
  const bool fast =
      precision == Precision::kFast && num_tokens >= kMinFastTokens && cpu_target_has_bf16();
  const GemmOps& ops = gemm_ops_of(fast);
  const uint32_t unit_rows = num_tokens <= kMaxGroupTokens ? kRowGroup : kPanelRows;
  pool.run([&](uint32_t thread) {
    for_each_piece(jobs, unit_rows, thread, pool.num_threads(),
                   [&](const DenseJob& job, Range rows) {
                     const DenseKernel& kernel = dense_kernel_of(*job.weights);
                     if (!fast && num_tokens <= kernel.max_matvec_tokens) {
                       run_matvec(kernel, job, rows, num_tokens);
                     } else {
                       gemm(kernel, job, rows, num_tokens, ops, scratch.of_thread(thread));
                     }
                   });
  });
}

std::span<const DenseKernel> dense_kernels() noexcept {
  static const std::vector<DenseKernel> kernels = [] {
    std::vector<DenseKernel> all;
    for (const auto& table :
         {dense_interleave_kernels(), dense_quant_interleave_kernels(), dense_row_major_kernels(),
          dense_quant_row_major_kernels(), dense_col_major_kernels(),
          dense_quant_col_major_kernels(), dense_blocked_kernels(), dense_quant_blocked_kernels(),
          dense_morton_kernels()}) {
      all.insert(all.end(), table.begin(), table.end());
    }
    return all;
  }();
  return kernels;
}

const DenseKernel& dense_kernel_of(const Tensor& weights) noexcept {
  const std::span<const DenseKernel> kernels = dense_kernels();
  const auto found = std::find_if(kernels.begin(), kernels.end(), [&](const DenseKernel& kernel) {
    return kernel.info.dtype == weights.dtype() && kernel.info.accepts(weights.layout());
  });
  CHECK(found != kernels.end());
  return *found;
}

}  // namespace skein
