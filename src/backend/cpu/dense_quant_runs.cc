// dense for the block codecs where a row's cols lie side by side in runs of a multiple of 32:
// `tile(R,C)`, `morton(T)`, `interleave(R,B)` and `interleave(R,B,K)` with a large K, exact.
//
// A *slice* is up to four rows of one row group. Its runs are walked from the first col to the
// last; each run's codes become vectors in registers, meet vectors of x that the rows share, and
// the sums of a step meet the row's factor as one more vector, so that lanes are added up once a
// row. x is in the codec's order (quant_rows-inl.h): codes come out of memory as cheaply as in
// row_major.
//
// Where a run lies is asked of the mapping once for all slices of a row group: on Morton's curve
// that costs as much as multiplying the run.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_quant_runs.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/block_grid.h"
#include "backend/cpu/dense_quant_blocked.h"
#include "backend/cpu/dense_table.h"
#include "backend/cpu/quant_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

constexpr size_t kSliceRows = 4;

// Of a run, so that each is whole pairs on every target.
constexpr size_t kRunGrain = 32;
static_assert(kRunGrain % kPairElems == 0);

// How far ahead of the products codes are asked for.
constexpr size_t kPrefetchBytes = 4096;

// Tokens at once: with the slice's sums half of the registers are full.
constexpr size_t kMaxTokens = kLanes == 16 ? 4 : 2;

// Where the runs of one row group lie, of one segment of cols.
template <class Codec>
class Runs {
 public:
  Runs(const Tensor& weights, const BlockGrid& grid, Range cols)
      : codes_(reinterpret_cast<const uint8_t*>(weights.host_data())),
        grid_(grid),
        first_run_(cols.begin / grid.chunk),
        first_place_(cols.begin % grid.chunk),
        num_runs_(ceil_div(cols.end, grid.chunk) - first_run_),
        run_bytes_(grid.chunk * Codec::kBits / 8),
        prefetch_bytes_(std::min(kSliceRows * run_bytes_, kPrefetchBytes)) {
    const size_t ahead = kPrefetchBytes / (kSliceRows * run_bytes_);
    ahead_ = HWY_MAX(size_t{1}, HWY_MIN(ahead, num_runs_));
  }

  void select_group(uint64_t row_group) {
    const uint64_t first_col = first_run_ * grid_.chunk;
    uint64_t block = first_col / grid_.block_cols, in_block = first_col % grid_.block_cols;
    uint64_t offset = grid_.offset(row_group, block);
    group_bytes_ = (grid_.offset(row_group + 1, block) - offset) * Codec::kBits / 8;
    for (size_t i = 0; i < num_runs_; ++i) {
      at_[i] = (offset + in_block * grid_.block_rows) * Codec::kBits / 8;
      in_block += grid_.chunk;
      if (in_block == grid_.block_cols && i + 1 < num_runs_) {
        in_block = 0;
        offset = grid_.offset(row_group, ++block);
      }
    }
  }
  // From the row at `place` in the group on. After the last slice comes the next group's first: on
  // Morton's curve only its first tile is where this says.
  void select_slice(uint64_t place, bool is_last) {
    slice_ = codes_ + place * run_bytes_;
    const uint64_t next = is_last ? group_bytes_ - place * run_bytes_ : kSliceRows * run_bytes_;
    for (size_t i = 0; i < ahead_; ++i) at_[num_runs_ + i] = at_[i] + next;
  }

  size_t run_bytes() const { return run_bytes_; }
  uint64_t run_cols() const { return grid_.chunk; }
  uint64_t first_place() const { return first_place_; }
  const uint8_t* at(size_t i) const { return slice_ + at_[i]; }
  // Of long runs the hardware follows the rows.
  HWY_INLINE void prefetch_ahead_of(size_t i) const {
    const uint8_t* p = slice_ + at_[i + ahead_];
    for (size_t bytes = 0; bytes < prefetch_bytes_; bytes += 64) prefetch_l1(p + bytes);
  }

 private:
  static constexpr size_t kMaxRuns = kPreparedElems / kRunGrain + 1;
  static constexpr size_t kMaxAhead = kPrefetchBytes / (kSliceRows * kRunGrain / 2);

  const uint8_t* codes_;
  const BlockGrid& grid_;
  uint64_t first_run_;
  uint64_t first_place_;
  size_t num_runs_;
  size_t run_bytes_;
  size_t prefetch_bytes_;  // of the slice's rows in one run
  size_t ahead_;
  const uint8_t* slice_ = nullptr;
  uint64_t group_bytes_ = 0;           // to the next group
  uint64_t at_[kMaxRuns + kMaxAhead];  // bytes, of the group's first row
};

// The factors of a slice and segment, and what its minima add.
template <class Codec, size_t kTokens>
class SliceFactors {
 public:
  void load(const Tensor& weights, Range rows, uint64_t first_step,
            const PreparedX<Codec, kTokens>& x) {
    const Scales<Codec> scales(weights);
    const AnyMapping& mapping = scales.mapping();
    if (mapping.layout().kind == LayoutKind::kRowMajor) {
      row_stride_ = PreparedX<Codec, kTokens>::kMaxSteps;
      step_stride_ = 1;
      for (size_t r = 0; r < rows.length(); ++r) {
        load_row(scales.at(rows.begin + r, first_step).p, r, x);
      }
    } else {
      row_stride_ = 1;
      step_stride_ = kSliceRows;
      load_rows(scales.at(rows.begin, first_step).p, mapping.layout().rows, x);
    }
  }

  HWY_INLINE float get(size_t row, size_t step) const {
    return factors_[row * row_stride_ + step * step_stride_];
  }
  float min_sum(size_t token, size_t row) const { return min_sums_[token][row]; }

 private:
  HWY_INLINE void load_row(const uint8_t* scales, size_t r, const PreparedX<Codec, kTokens>& x) {
    F32Vec sums[kTokens];
    load_row_factors<Codec, kTokens>(scales, x, factors_ + r * row_stride_, sums);
    for (size_t t = 0; t < kTokens; ++t) {
      min_sums_[t][r] = kHasMin<Codec> ? hn::GetLane(hn::SumOfLanes(F32Tag(), sums[t])) : 0.0f;
    }
  }

  // Of rows side by side, `num_rows` a block of scales (scale_layout()). Lanes that they do not
  // fill hold others: within kReadSlackBytes.
  HWY_INLINE void load_rows(const uint8_t* scales, size_t num_rows,
                            const PreparedX<Codec, kTokens>& x) {
    constexpr size_t kVecs = HWY_MAX(1, kSliceRows / kLanes);
    const F32Tag d;
    const uint64_t word_stride = num_rows * Codec::kWordBytes;
    F32Vec min_sums[kTokens][kVecs];
    for (auto& of_token : min_sums) {
      for (F32Vec& sum : of_token) sum = hn::Zero(d);
    }
    for (size_t b = 0; b < x.num_steps(); ++b) {
      const ScalePlace at{scales + b / Codec::kRuns * Codec::kWords * word_stride, word_stride,
                          static_cast<uint32_t>(b % Codec::kRuns)};
      HWY_UNROLL(16)
      for (size_t v = 0; v < kVecs; ++v) {
        const auto steps = Codec::load_steps(skip_rows<Codec>(at, v * kLanes));
        // The next steps lie behind kSliceRows lanes.
        hn::StoreU(steps.factor, d, factors_ + b * kSliceRows + v * kLanes);
        if constexpr (kHasMin<Codec>) {
          HWY_UNROLL(16)
          for (size_t t = 0; t < kTokens; ++t) {
            const F32Vec sum_x = hn::Set(d, x.sums(t)[b]);
            min_sums[t][v] = hn::MulAdd(steps.min, sum_x, min_sums[t][v]);
          }
        }
      }
    }
    for (size_t t = 0; t < kTokens; ++t) {
      for (size_t v = 0; v < kVecs; ++v) {
        hn::Store(min_sums[t][v], d, min_sums_[t] + v * kLanes);
      }
    }
  }

  size_t row_stride_, step_stride_;
  HWY_ALIGN float factors_[kSliceRows * PreparedX<Codec, kTokens>::kMaxSteps + kLanes];
  HWY_ALIGN float min_sums_[kTokens][HWY_MAX(kSliceRows, kLanes)];
};

// A walk along the runs of a slice.
struct RunPlace {
  size_t run;
  size_t place;  // a col in it
};

// acc[t][r] += codes * x of num_cols cols of one run, whole pairs.
template <class Codec, size_t kTokens>
HWY_INLINE void add_run(const Codec& codec, const uint8_t* const* w, size_t num_cols,
                        const float* const* x, F32Vec (&acc)[kTokens][kSliceRows][2]) {
  const F32Tag d;
  for (size_t c = 0; c < num_cols; c += kPairElems) {
    VecPair xs[kTokens];
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      xs[t] = {hn::Load(d, x[t] + c), hn::Load(d, x[t] + c + kLanes)};
    }
    HWY_UNROLL(16)
    for (size_t r = 0; r < kSliceRows; ++r) {
      const VecPair codes = codec.load_pair(w[r] + c * Codec::kBits / 8);
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) {
        acc[t][r][0] = hn::MulAdd(codes.a, xs[t].a, acc[t][r][0]);
        F32Vec& second = acc[t][r][kTokens == 1 ? 1 : 0];
        second = hn::MulAdd(codes.b, xs[t].b, second);
      }
    }
  }
}

// y[t][0, num_rows) = or += one slice by one segment of cols.
template <class Codec, size_t kTokens>
HWY_NOINLINE void multiply_slice(const Codec& codec, const Runs<Codec>& runs,
                                 const SliceFactors<Codec, kTokens>& factors, size_t num_rows,
                                 size_t num_cols, const PreparedX<Codec, kTokens>& prepared,
                                 float* const* y, size_t num_tokens, bool add) {
  const F32Tag d;
  const size_t run_cols = runs.run_cols();
  size_t row_bytes[kSliceRows];
  // A row that the slice has not repeats the first.
  for (size_t r = 0; r < kSliceRows; ++r) row_bytes[r] = r < num_rows ? r * runs.run_bytes() : 0;
  F32Vec totals[kTokens][kSliceRows];
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    HWY_UNROLL(16)
    for (size_t r = 0; r < kSliceRows; ++r) totals[t][r] = hn::Zero(d);
  }
  RunPlace at{0, runs.first_place()};
  for (size_t b = 0; b < prepared.num_steps(); ++b) {
    F32Vec acc[kTokens][kSliceRows][2];
    HWY_UNROLL(16)
    for (size_t t = 0; t < kTokens; ++t) {
      HWY_UNROLL(16)
      for (size_t r = 0; r < kSliceRows; ++r) acc[t][r][0] = acc[t][r][1] = hn::Zero(d);
    }
    // x is zero from the last col to the end of its step; so far go the codes of a grain.
    const size_t left = round_up(num_cols - b * kStepCols<Codec>, kRunGrain);
    const size_t end = HWY_MIN(size_t{kStepCols<Codec>}, left);
    for (size_t c = 0; c < end;) {
      const size_t n = HWY_MIN(end - c, run_cols - at.place);
      const size_t place_bytes = at.place * Codec::kBits / 8;
      const uint8_t* first = runs.at(at.run) + place_bytes;
      if (at.place == 0) runs.prefetch_ahead_of(at.run);
      const uint8_t* w[kSliceRows];
      const float* x[kTokens];
      HWY_UNROLL(16)
      for (size_t r = 0; r < kSliceRows; ++r) w[r] = first + row_bytes[r];
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) x[t] = prepared.step(t, b) + c;
      add_run<Codec, kTokens>(codec, w, n, x, acc);
      c += n;
      at.place += n;
      if (at.place == run_cols) at = {at.run + 1, 0};
    }
    HWY_UNROLL(16)
    for (size_t r = 0; r < kSliceRows; ++r) {
      const F32Vec factor = hn::Set(d, factors.get(r, b));
      HWY_UNROLL(16)
      for (size_t t = 0; t < kTokens; ++t) {
        const F32Vec sum = kTokens == 1 ? hn::Add(acc[t][r][0], acc[t][r][1]) : acc[t][r][0];
        totals[t][r] = hn::MulAdd(sum, factor, totals[t][r]);
      }
    }
  }
  HWY_UNROLL(16)
  for (size_t t = 0; t < kTokens; ++t) {
    if (t >= num_tokens) break;
    HWY_UNROLL(16)
    for (size_t r = 0; r < kSliceRows; ++r) {
      if (r >= num_rows) break;
      float total = hn::GetLane(hn::SumOfLanes(d, totals[t][r]));
      if constexpr (kHasMin<Codec>) total += factors.min_sum(t, r);
      y[t][r] = add ? y[t][r] + total : total;
    }
  }
}

// One segment of cols, all rows, one turn of tokens.
template <class Codec, size_t kTokens>
HWY_NOINLINE void multiply_segment(const MatvecArgs& args, size_t token, size_t num_tokens,
                                   Range cols) {
  const Codec codec(args.weights.dtype());
  const PreparedX<Codec, kTokens> x(args, token, num_tokens, cols);
  const BlockGrid grid(args.weights);
  Runs<Codec> runs(args.weights, grid, cols);
  SliceFactors<Codec, kTokens> factors;
  for (uint64_t row = args.rows.begin; row < args.rows.end;) {
    const Range group = grid.slice(row, args.rows.end, ~uint64_t{0} - row);
    runs.select_group(row / grid.block_rows);
    while (row < group.end) {
      const Range rows = grid.slice(row, group.end, kSliceRows);
      runs.select_slice(row % grid.block_rows, rows.end == group.end);
      factors.load(args.weights, rows, cols.begin / kStepCols<Codec>, x);
      float* y[kTokens];
      for (size_t t = 0; t < kTokens; ++t) {
        y[t] = args.y + (token + std::min(t, num_tokens - 1)) * args.y_stride_elems + row;
      }
      multiply_slice<Codec, kTokens>(codec, runs, factors, rows.length(), cols.length(), x, y,
                                     num_tokens, args.add || cols.begin != 0);
      row = rows.end;
    }
  }
}

template <class Codec, size_t kTokens>
HWY_INLINE void multiply_turn(const MatvecArgs& args, size_t token, size_t num_tokens) {
  constexpr uint64_t kMaxCols = PreparedX<Codec, kTokens>::kMaxCols;
  for (uint64_t col = 0; col < args.weights.cols(); col += kMaxCols) {
    multiply_segment<Codec, kTokens>(args, token, num_tokens,
                                     {col, std::min(col + kMaxCols, args.weights.cols())});
  }
}

template <class Codec>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  for (size_t token = 0; token < args.num_tokens; token += kMaxTokens) {
    const size_t num_tokens = std::min<size_t>(kMaxTokens, args.num_tokens - token);
    if (num_tokens == 1) {
      multiply_turn<Codec, 1>(args, token, 1);
    } else {
      multiply_turn<Codec, kMaxTokens>(args, token, num_tokens);
    }
  }
}

struct Matvec {
  template <class Codec>
  static void run(const MatvecArgs& args) {
    matvec<Codec>(args);
  }
};
void matvec_quant(const MatvecArgs& args) { with_codec<Matvec>(args.weights.dtype(), args); }

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(matvec_quant);

constexpr uint32_t kMinRun = 32;

template <LayoutKind kKind>
bool accepts(const Layout& layout) {
  return layout.kind == kKind && layout.chunk % kMinRun == 0;
}

void run_matvec(const MatvecArgs& args) { HWY_DYNAMIC_DISPATCH(matvec_quant)(args); }

constexpr uint32_t kMaxMatvecTokens = 8;

template <DType kType, LayoutKind kKind>
constexpr DenseKernel kernel_of(std::string_view name, std::string_view layouts) {
  return {{MatrixOp::kDense, kType, layouts, accepts<kKind>, name},
          kMaxMatvecTokens,
          run_matvec,
          decode_quant_blocks};
}

}  // namespace

#define SKEIN_RUN_KERNELS(TYPE, NAME)                                    \
  kernel_of<TYPE, LayoutKind::kInterleave>(NAME, "interleave(*,*,32n)"), \
      kernel_of<TYPE, LayoutKind::kTile>(NAME, "tile(*,32n)"),           \
      kernel_of<TYPE, LayoutKind::kMorton>(NAME, "morton(32n)")

std::span<const DenseKernel> dense_quant_runs_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      SKEIN_RUN_KERNELS(DType::kInt8, "dense_int8_runs"),
      SKEIN_RUN_KERNELS(DType::kNF4, "dense_nf4_runs"),
      SKEIN_RUN_KERNELS(DType::kSF4, "dense_sf4_runs"),
      SKEIN_RUN_KERNELS(DType::kQ8_0, "dense_q8_0_runs"),
      SKEIN_RUN_KERNELS(DType::kQ4_0, "dense_q4_0_runs"),
      SKEIN_RUN_KERNELS(DType::kQ4K, "dense_q4_k_runs"),
  };
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
