#include "backend/cpu/sparse.h"

#include <algorithm>

#include "backend/cpu/sparse_kernel.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/thread_pool.h"

namespace skein {
namespace {

// Parts of the non-zero list whose sums are made apart and added in order: a fixed number, so that
// the result does not depend on the threads. 8 of them are 64 KiB for 2048 rows, 2 % of what is
// read.
constexpr uint32_t kNumPartitions = 8;

// Up to here each token reads its own columns: 4 times 10 % is hardly more than their union.
constexpr uint32_t kMaxSingleTokens = 4;

// Tokens of one pass through the weights: enough that decoding a block, 16 FMAs an element, is
// little.
constexpr uint32_t kMaxPassTokens = 512;

// From this density on the dense product is faster: it does 1.6 FMAs a cycle on every element, a
// walk about half of that on the non-zero ones.
constexpr double kMaxSparseDensity = 0.3;

// The same where dense() multiplies in tiles of AMX: at 10 % both ways are alike with 512 tokens,
// and the walk is an eighth of a prefill faster with 24 and 64 (0.4B, Xeon, 2026-11-28).
constexpr double kMaxTileDensity = 0.12;

constexpr uint64_t kLineElems = 16;    // 64 B of f32
constexpr uint64_t kCompactRoom = 16;  // compact() writes whole vectors

// Where things lie in the scratch, in bytes from its start; every part is a multiple of 4 KiB and a
// line, so that parts do not compete for the same cache sets.
struct Plan {
  uint64_t partials;        // [kNumPartitions][partial_stride] f32
  uint64_t partial_stride;  // elements
  uint64_t values;          // [max_tokens][list_stride] f32
  uint64_t cols;            // [max_tokens][list_stride] u16
  uint64_t list_stride;     // elements
  uint64_t ends;            // [max_tokens][num_blocks] u32: where a block's part of the list ends
  uint64_t num_blocks;      // of kSparseCols
  uint64_t threads;         // [num_threads] of thread_stride bytes
  uint64_t thread_stride;
  uint64_t num_bytes;

  Plan(uint32_t num_threads, uint32_t max_tokens, uint64_t max_rows, uint64_t max_cols) {
    uint64_t end = 0;
    const auto take = [&end](uint64_t bytes) {
      const uint64_t begin = end;
      end += round_up(bytes, uint64_t{4096}) + 64;
      return begin;
    };
    partial_stride = round_up(max_rows, kLineElems) + kLineElems;
    list_stride = round_up(max_cols, kLineElems) + kCompactRoom;
    num_blocks = ceil_div<uint64_t>(max_cols, kSparseCols);
    const uint64_t tokens = max_tokens > kMaxSingleTokens ? max_tokens : 0;
    partials = take(kNumPartitions * partial_stride * sizeof(float));
    values = take(tokens * list_stride * sizeof(float));
    cols = take(tokens * list_stride * sizeof(uint16_t));
    ends = take(tokens * num_blocks * sizeof(uint32_t));
    threads = end;
    const uint64_t list = list_stride * (sizeof(float) + sizeof(uint32_t));
    const uint64_t block = uint64_t{kSparseRows} * kSparseCols * sizeof(float);
    take(std::max(list, block));
    thread_stride = end - threads;
    num_bytes = threads + num_threads * thread_stride;
  }
};

}  // namespace

// One sparse(): the scratch's parts as pointers, and the two ways to do it.
class SparseCall {
 public:
  SparseCall(const Tensor& weights, const SparseKernel& kernel, ThreadPool& pool,
             SparseScratch& scratch)
      : weights_(weights),
        kernel_(kernel),
        pool_(pool),
        scratch_(scratch),
        plan_(scratch.num_threads_, scratch.max_tokens_, scratch.max_rows_, scratch.max_cols_),
        rows_(weights.rows()),
        cols_(weights.cols()) {
    DCHECK(scratch.num_threads_ >= pool.num_threads());
    DCHECK(rows_ <= scratch.max_rows_ && cols_ <= scratch.max_cols_);
  }

  // y += W x with all zeros of x.
  static void dense_product(const Tensor& weights, const float* x, uint64_t x_stride, float* y,
                            uint64_t y_stride, uint32_t num_tokens, Precision precision,
                            ThreadPool& pool, SparseScratch& scratch) {
    const DenseJob job{&weights, x, x_stride, y, y_stride, /*add=*/true};
    const bool tiles = dense_takes_tiles(num_tokens, precision, scratch.dense_);
    dense({&job, 1}, num_tokens, tiles ? Precision::kFast : Precision::kExact, pool,
          scratch.dense_);
  }

  uint32_t max_tokens() const { return scratch_.max_tokens_; }
  void one_token(const float* x, float* y);
  void many_tokens(const float* x, uint64_t x_stride, float* y, uint64_t y_stride,
                   uint32_t num_tokens, Precision precision);

 private:
  template <class T>
  T* at(uint64_t offset_bytes) const {
    return reinterpret_cast<T*>(scratch_.buffer_->host_data() + offset_bytes);
  }
  std::byte* of_thread(uint32_t thread) const {
    return at<std::byte>(plan_.threads + thread * plan_.thread_stride);
  }

  Range partition_of(const NonZeros& x, uint32_t partition) const;
  void add_partitions(NonZeros x, uint32_t thread);
  void list_token(const float* x, uint64_t token);
  double density(uint32_t num_tokens) const;
  void multiply_rows(Range rows, float* y, uint64_t y_stride, uint32_t num_tokens, float* panel);

  const Tensor& weights_;
  const SparseKernel& kernel_;
  ThreadPool& pool_;
  SparseScratch& scratch_;
  const Plan plan_;
  const uint64_t rows_;
  const uint64_t cols_;
};

// The partition's part of the list: an equal share, but for its ends, which go back to where the
// dtype's block of cols begins.
Range SparseCall::partition_of(const NonZeros& x, uint32_t partition) const {
  const uint32_t block = step_cols(weights_.dtype());
  if (block == 1) return share_of(x.count, 4, partition, kNumPartitions);
  const auto begin_of = [&](uint32_t p) {
    const uint64_t place = x.count * p / kNumPartitions;
    if (place == x.count) return place;
    const uint32_t block_begin = x.cols[place] / block * block;
    return static_cast<uint64_t>(std::lower_bound(x.cols, x.cols + place, block_begin) - x.cols);
  };
  return {begin_of(partition), begin_of(partition + 1)};
}

// The thread's share of all partitions times all rows, cut where it may be: a sum of a row in a
// partition is the same whoever makes it.
void SparseCall::add_partitions(NonZeros x, uint32_t thread) {
  const Range share = share_of(kNumPartitions * round_up(rows_, kLineElems), kLineElems, thread,
                               pool_.num_threads());
  const uint64_t padded_rows = round_up(rows_, kLineElems);
  bool is_asked_for = false;
  for (uint64_t place = share.begin; place < share.end;) {
    const auto partition = static_cast<uint32_t>(place / padded_rows);
    const uint64_t partition_end = (partition + uint64_t{1}) * padded_rows;
    const uint64_t end = std::min(share.end, partition_end);
    const Range rows{place % padded_rows, std::min(rows_, place % padded_rows + (end - place))};
    const Range list = partition_of(x, partition);
    const bool is_next_same = rows.begin == 0 && share.end - place >= 2 * padded_rows;
    const uint64_t num_next = is_next_same ? partition_of(x, partition + 1).length() : 0;
    float* partial = at<float>(plan_.partials) + partition * plan_.partial_stride;
    kernel_.add_cols(
        weights_, rows,
        {x.cols + list.begin, x.values + list.begin, list.length(), num_next, is_asked_for},
        partial + rows.begin, /*add=*/false);
    is_asked_for = num_next != 0 && list.length() != 0;
    place = end;
  }
}

void SparseCall::one_token(const float* x, float* y) {
  pool_.run([&](uint32_t thread) {
    // Each thread lists all of x for itself: for 8192 cols that takes less than a microsecond, no
    // more than waiting for the others' parts.
    float* values = reinterpret_cast<float*>(of_thread(thread));
    uint32_t* cols = reinterpret_cast<uint32_t*>(values + plan_.list_stride);
    const uint64_t count = compact(x, cols_, cols, values);
    add_partitions({cols, values, count}, thread);
    pool_.barrier();
    const Range rows = share_of(rows_, kLineElems, thread, pool_.num_threads());
    add_partials(at<float>(plan_.partials) + rows.begin, plan_.partial_stride, kNumPartitions,
                 rows.length(), y + rows.begin);
  });
}

void SparseCall::list_token(const float* x, uint64_t token) {
  float* values = at<float>(plan_.values) + token * plan_.list_stride;
  uint16_t* cols = at<uint16_t>(plan_.cols) + token * plan_.list_stride;
  uint32_t* ends = at<uint32_t>(plan_.ends) + token * plan_.num_blocks;
  uint32_t end = 0;
  for (uint64_t col = 0; col < cols_; col += kSparseCols) {
    const auto num_cols = static_cast<uint32_t>(std::min<uint64_t>(kSparseCols, cols_ - col));
    end += compact_block(x + col, num_cols, cols + end, values + end);
    *ends++ = end;
  }
}

double SparseCall::density(uint32_t num_tokens) const {
  const uint64_t last_block = ceil_div<uint64_t>(cols_, kSparseCols) - 1;
  uint64_t count = 0;
  for (uint64_t t = 0; t < num_tokens; ++t) {
    count += at<uint32_t>(plan_.ends)[t * plan_.num_blocks + last_block];
  }
  return static_cast<double>(count) / (static_cast<double>(cols_) * num_tokens);
}

void SparseCall::multiply_rows(Range rows, float* y, uint64_t y_stride, uint32_t num_tokens,
                               float* panel) {
  const auto num_rows = static_cast<uint32_t>(rows.length());
  for (uint64_t block = 0; block * kSparseCols < cols_; ++block) {
    const uint64_t col = block * kSparseCols;
    kernel_.decode_block(weights_, rows, {col, std::min(col + kSparseCols, cols_)}, panel);
    for (uint64_t t = 0; t < num_tokens; ++t) {
      const uint32_t* ends = at<uint32_t>(plan_.ends) + t * plan_.num_blocks;
      const uint32_t begin = block == 0 ? 0 : ends[block - 1];
      const uint64_t list = t * plan_.list_stride + begin;
      walk(panel, at<uint16_t>(plan_.cols) + list, at<float>(plan_.values) + list,
           ends[block] - begin, num_rows, y + t * y_stride + rows.begin);
    }
  }
}

void SparseCall::many_tokens(const float* x, uint64_t x_stride, float* y, uint64_t y_stride,
                             uint32_t num_tokens, Precision precision) {
  pool_.run([&](uint32_t thread) {
    const Range tokens = share_of(num_tokens, 1, thread, pool_.num_threads());
    for (uint64_t t = tokens.begin; t < tokens.end; ++t) list_token(x + t * x_stride, t);
  });
  const bool tiles = dense_takes_tiles(num_tokens, precision, scratch_.dense_);
  if (density(num_tokens) > (tiles ? kMaxTileDensity : kMaxSparseDensity)) {
    dense_product(weights_, x, x_stride, y, y_stride, num_tokens, precision, pool_, scratch_);
    return;
  }
  pool_.run([&](uint32_t thread) {
    const Range share = share_of(rows_, kLineElems, thread, pool_.num_threads());
    float* panel = reinterpret_cast<float*>(of_thread(thread));
    for (uint64_t row = share.begin; row < share.end; row += kSparseRows) {
      multiply_rows({row, std::min<uint64_t>(row + kSparseRows, share.end)}, y, y_stride,
                    num_tokens, panel);
    }
  });
}

Result<SparseScratch> SparseScratch::create(uint32_t num_threads, uint32_t max_tokens,
                                            uint64_t max_rows, uint64_t max_cols) {
  SparseScratch scratch;
  scratch.num_threads_ = num_threads;
  scratch.max_tokens_ = std::clamp(max_tokens, 1u, kMaxPassTokens);
  scratch.max_rows_ = max_rows;
  scratch.max_cols_ = max_cols;
  const Plan plan(num_threads, scratch.max_tokens_, max_rows, max_cols);
  SKEIN_ASSIGN_OR_RETURN(scratch.buffer_, allocate_host_buffer(plan.num_bytes));
  SKEIN_ASSIGN_OR_RETURN(scratch.dense_, DenseScratch::create(num_threads));
  return scratch;
}

void sparse(const Tensor& weights, const float* x, uint64_t x_stride_elems, float* y,
            uint64_t y_stride_elems, uint32_t num_tokens, Precision precision, ThreadPool& pool,
            SparseScratch& scratch) noexcept {
  const SparseKernel* kernel = sparse_kernel_of(weights);
  if (kernel == nullptr) {
    SparseCall::dense_product(weights, x, x_stride_elems, y, y_stride_elems, num_tokens, precision,
                              pool, scratch);
    return;
  }
  SparseCall call(weights, *kernel, pool, scratch);
  for (uint32_t first = 0; first < num_tokens;) {
    const uint32_t count = std::min(num_tokens - first, call.max_tokens());
    const float* pass_x = x + first * x_stride_elems;
    float* pass_y = y + first * y_stride_elems;
    if (count > kMaxSingleTokens) {
      call.many_tokens(pass_x, x_stride_elems, pass_y, y_stride_elems, count, precision);
    } else {
      for (uint32_t t = 0; t < count; ++t) {
        call.one_token(pass_x + t * x_stride_elems, pass_y + t * y_stride_elems);
      }
    }
    first += count;
  }
}

}  // namespace skein
