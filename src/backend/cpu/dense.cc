#include "backend/cpu/dense.h"

#include <algorithm>
#include <array>
#include <vector>

#include "backend/cpu/cpu_target.h"
#include "backend/cpu/dense_gemm.h"
#include "backend/cpu/dense_gemm_amx.h"
#include "backend/cpu/dense_int8.h"
#include "backend/cpu/dense_kernel.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/thread_pool.h"
#include "base/work_shares.h"

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

// The smallest piece of the weights that one thread takes from another: some microseconds, and two
// row groups of a 2048 x 2048 matrix in f16, which are multiplied together.
constexpr uint64_t kPieceBytes = 131072;

// What a unit of rows of a job costs: its bytes, since few tokens wait for memory. For many tokens
// the elements would count, but jobs of one call rarely differ in dtype.
uint64_t unit_bytes(const DenseJob& job, uint32_t unit_rows) {
  return job.weights->cols() * unit_rows * element_bits(job.weights->dtype()) / 8;
}

uint64_t num_units(const DenseJob& job, uint32_t unit_rows) {
  return ceil_div<uint64_t>(job.weights->rows(), unit_rows);
}

// Calls f(job, rows) for the wanted jobs' units that begin in `piece` of the bytes of all of them
// in a row.
template <class Wanted, class F>
void for_each_job(std::span<const DenseJob> jobs, uint32_t unit_rows, Range piece, Wanted&& wanted,
                  F&& f) {
  uint64_t start = 0;  // of the job
  for (const DenseJob& job : jobs) {
    if (!wanted(job)) continue;
    const uint64_t bytes = unit_bytes(job, unit_rows);
    const uint64_t units = num_units(job, unit_rows);
    const auto first_from = [&](uint64_t place) {
      return place <= start ? 0 : std::min(units, ceil_div(place - start, bytes));
    };
    const uint64_t first = first_from(piece.begin) * unit_rows;
    const uint64_t last = std::min(first_from(piece.end) * unit_rows, job.weights->rows());
    if (first < last) f(job, Range{first, last});
    start += units * bytes;
  }
}

void apply_epilogue(const DenseJob& job, Range rows, Range tokens) {
  if (job.epilogue.apply == nullptr) return;
  for (uint64_t t = tokens.begin; t < tokens.end; ++t) {
    job.epilogue.apply(job.epilogue.context, job.y + t * job.y_stride_elems, t, rows.begin,
                       rows.end);
  }
}

void run_matvec(const DenseKernel& kernel, const DenseJob& job, Range rows, uint32_t num_tokens) {
  kernel.matvec({*job.weights, rows, job.x, job.x_stride_elems, job.y, job.y_stride_elems,
                 num_tokens, job.add});
  apply_epilogue(job, rows, {0, num_tokens});
}

constexpr uint64_t kThreadBytes = kThreadElems * sizeof(float);
static_assert(kMaxGroupTokens <= kInt8Tokens);

// The operations on x rounded to int8, or nullptr where the job is not done that way: another
// dtype, layout or CPU, or rows of x so long (80,000 cols) that a few have no room in the scratch
// of a thread.
const Int8Ops* int8_ops_of(const DenseKernel& kernel, const DenseJob& job) {
  if (kernel.int8_ops == nullptr || !cpu_target_has_vnni()) return nullptr;
  const uint64_t bytes = Int8Rows::bytes_per_token(job.weights->cols(), job.weights->dtype());
  return bytes * kInt8Tokens <= kThreadBytes ? kernel.int8_ops() : nullptr;
}

// `tokens` of the job with x rounded to int8.
class Int8Pass {
 public:
  Int8Pass(const Int8Ops& ops, const DenseJob& job, Range tokens, float* memory)
      : ops_(ops),
        job_(job),
        tokens_(tokens),
        x_(Int8Rows::place(reinterpret_cast<std::byte*>(memory), job.weights->cols(),
                           job.weights->dtype(), tokens.length())) {}

  // Rounds some of the tokens, counted from the first of the pass.
  void round(Range part) const {
    for (uint64_t t = part.begin; t < part.end; ++t) {
      ops_.round_row(job_.x + (tokens_.begin + t) * job_.x_stride_elems, job_.weights->cols(), x_,
                     t);
    }
  }

  // All tokens, which must be rounded.
  void multiply(Range rows) const {
    ops_.multiply({*job_.weights, rows, x_, job_.y + tokens_.begin * job_.y_stride_elems,
                   job_.y_stride_elems, static_cast<uint32_t>(tokens_.length()), job_.add});
    apply_epilogue(job_, rows, tokens_);
  }

 private:
  const Int8Ops& ops_;
  const DenseJob& job_;
  Range tokens_;
  Int8Rows x_;
};

// Few tokens: each thread rounds all of x for itself, which is quicker than waiting for others: 0.2
// us for 2048 cols.
void run_int8_alone(const Int8Ops& ops, const DenseJob& job, Range rows, uint32_t num_tokens,
                    float* memory, bool must_round) {
  const Int8Pass pass(ops, job, {0, num_tokens}, memory);
  if (must_round) pass.round({0, num_tokens});
  pass.multiply(rows);
}

// Many tokens: the threads share out the tokens to round, then the rows to multiply. Every thread
// calls this for the same jobs in the same order. The rounded x lies in the scratch of all threads,
// which is one piece.
void run_int8_together(const Int8Ops& ops, const DenseJob& job, uint32_t num_tokens,
                       uint32_t thread, ThreadPool& pool, float* memory) {
  const Tensor& weights = *job.weights;
  const uint64_t bytes = Int8Rows::bytes_per_token(weights.cols(), weights.dtype());
  const uint64_t room = pool.num_threads() * kThreadBytes / bytes / kInt8Tokens * kInt8Tokens;
  const Range rows = share_of(weights.rows(), kPanelRows, thread, pool.num_threads());
  for (uint64_t first = 0; first < num_tokens; first += room) {
    const Int8Pass pass(ops, job, {first, std::min<uint64_t>(first + room, num_tokens)}, memory);
    pass.round(share_of(std::min(room, num_tokens - first), 1, thread, pool.num_threads()));
    pool.barrier();
    for (uint64_t row = rows.begin; row < rows.end; row += kPanelRows) {
      pass.multiply({row, std::min(row + kPanelRows, rows.end)});
    }
    pool.barrier();
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
  scratch.has_room_for_amx_ = amx_pays();
  scratch.thread_elems_ = kThreadElems;
  if (scratch.has_room_for_amx_) {
    scratch.thread_elems_ = std::max(kThreadElems, amx_scratch_elems());
  }
  SKEIN_ASSIGN_OR_RETURN(scratch.buffer_,
                         allocate_host_buffer(num_threads * scratch.thread_elems_ * sizeof(float)));
  scratch.shares_ = std::make_unique<WorkShares>(num_threads);
  scratch.num_threads_ = num_threads;
  return scratch;
}

float* DenseScratch::of_thread(uint32_t thread) const noexcept {
  DCHECK(thread < num_threads_);
  return reinterpret_cast<float*>(buffer_->host_data()) + thread * thread_elems_;
}

bool dense_takes_tiles(uint32_t num_tokens, Precision precision,
                       const DenseScratch& scratch) noexcept {
  return precision == Precision::kFast && num_tokens >= kMinAmxTokens && amx_pays() &&
         scratch.has_room_for_amx();
}

void dense(std::span<const DenseJob> jobs, uint32_t num_tokens, Precision precision,
           ThreadPool& pool, DenseScratch& scratch) noexcept {
  DCHECK(num_tokens > 0 && scratch.num_threads() >= pool.num_threads());
  const bool fast = precision == Precision::kFast;
  const bool tiles = dense_takes_tiles(num_tokens, precision, scratch);
  const bool fast_gemm = fast && num_tokens >= kMinFastTokens && cpu_target_has_bf16();
  const GemmOps& gemm_ops = gemm_ops_of(fast_gemm);
  const bool is_few = num_tokens <= kMaxGroupTokens;
  const bool tiles_for_int8 = tiles && num_tokens >= kMinAmxTokensForInt8;
  const auto ops_of = [&](const DenseKernel& kernel, const DenseJob& job) {
    return fast && !tiles_for_int8 ? int8_ops_of(kernel, job) : nullptr;
  };
  const auto is_shared = [&](const DenseJob& job) {
    return is_few || ops_of(dense_kernel_of(*job.weights), job) == nullptr;
  };
  const uint32_t unit_rows = is_few ? kRowGroup : kPanelRows;
  uint64_t total = 0;
  for (const DenseJob& job : jobs) {
    if (is_shared(job)) total += num_units(job, unit_rows) * unit_bytes(job, unit_rows);
  }
  // Many tokens: one piece a thread, for which x is rounded and packed once.
  WorkShares& shares = scratch.shares();
  shares.deal(total, is_few ? kPieceBytes : total + 1, pool.num_threads());
  pool.run([&](uint32_t thread) {
    float* memory = scratch.of_thread(thread);
    if (!is_few) {
      for (const DenseJob& job : jobs) {
        if (const Int8Ops* ops = ops_of(dense_kernel_of(*job.weights), job); ops != nullptr) {
          run_int8_together(*ops, job, num_tokens, thread, pool, scratch.of_thread(0));
        }
      }
    }
    const DenseJob* rounded = nullptr;  // whose x lies in `memory`, rounded
    for (Range piece = shares.next(thread); !piece.empty(); piece = shares.next(thread)) {
      for_each_job(jobs, unit_rows, piece, is_shared, [&](const DenseJob& job, Range rows) {
        const DenseKernel& kernel = dense_kernel_of(*job.weights);
        if (const Int8Ops* ops = ops_of(kernel, job); ops != nullptr) {
          run_int8_alone(*ops, job, rows, num_tokens, memory, rounded != &job);
          rounded = &job;
          return;
        }
        rounded = nullptr;
        if (tiles) {
          gemm_amx(kernel, job, rows, num_tokens, memory);
        } else if (!fast_gemm && num_tokens <= kernel.max_matvec_tokens) {
          run_matvec(kernel, job, rows, num_tokens);
        } else {
          gemm(kernel, job, rows, num_tokens, gemm_ops, memory);
        }
      });
    }
  });
}

std::span<const DenseKernel> dense_kernels() noexcept {
  static const std::vector<DenseKernel> kernels = [] {
    std::vector<DenseKernel> all;
    for (const auto& table :
         {dense_interleave_kernels(), dense_quant_interleave_kernels(),
          dense_quant_interleave_narrow_kernels(), dense_row_major_kernels(),
          dense_quant_row_major_kernels(), dense_col_major_kernels(),
          dense_quant_col_major_kernels(), dense_blocked_kernels(), dense_quant_runs_kernels(),
          dense_quant_blocked_kernels(), dense_morton_kernels()}) {
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
