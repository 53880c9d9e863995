// dense for the block codecs in any `interleave(R,B,K)`, `tile(R,C)` and `morton(T)` that has no
// kernel of its own.
//
// Goals: every layout, any shape, one piece of code. Non-goals: the speed of the special kernels.
//
// A *slice* is at most kSliceRows rows of one row group by one step of cols of the codec. Its
// codes become floats in L1 in the order of memory, unscaled, which is the same loop for every
// layout; then the products are those of plain f32 chunks (dense_blocked-inl.h), and the scales
// meet the slice's sums, once a row. So nothing here depends on R, B and K but the walk.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_quant_blocked.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/block_grid.h"
#include "backend/cpu/dense_blocked-inl.h"
#include "backend/cpu/dense_quant_blocked.h"
#include "backend/cpu/dense_table.h"
#include "backend/cpu/quant_codec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

// A panel's, so that a slice of 128 cols is 16 KiB.
constexpr uint64_t kSliceRows = kPanelRows;
constexpr uint64_t kMaxSliceCols = 128;

// How far ahead codes are asked for.
constexpr size_t kPrefetchBytes = 1024;

// to[i] = code i of num_elems from element `elem` on, unscaled; may write kPairElems - 1 more.
template <class Codec>
HWY_INLINE void decode_run(const Codec& codec, const uint8_t* codes, uint64_t elem,
                           size_t num_elems, float* to) {
  const F32Tag d;
  const size_t direct = begins_byte<Codec>(elem) ? num_elems / kPairElems * kPairElems : 0;
  const uint8_t* p = byte_of<Codec>(codes, elem);
  size_t i = 0;
  for (; i < direct; i += kPairElems, p += kPairBytes<Codec>) {
    prefetch_l2(p + kPrefetchBytes);
    const VecPair w = Codec::in_order(codec.load_pair(p));
    hn::StoreU(w.a, d, to + i);
    hn::StoreU(w.b, d, to + i + kLanes);
  }
  for (; i < num_elems; i += kPairElems) {
    HWY_ALIGN uint8_t copy[kPairBytes<Codec>] = {};
    copy_codes<Codec>(codes, elem + i, std::min(kPairElems, num_elems - i), copy);
    const VecPair w = Codec::in_order(codec.load_pair(copy));
    hn::StoreU(w.a, d, to + i);
    hn::StoreU(w.b, d, to + i + kLanes);
  }
}

// A decoded slice: its codes as floats, and its scales.
template <class Codec>
class Slice {
 public:
  explicit Slice(const Tensor& weights)
      : weights_(weights),
        grid_(weights),
        codec_(weights.dtype()),
        codes_(reinterpret_cast<const uint8_t*>(weights.host_data())) {}

  const BlockGrid& grid() const { return grid_; }

  // Rows of one row group, cols of one block of the codec.
  HWY_INLINE void decode(Range rows, Range cols) {
    num_rows_ = rows.length();
    num_runs_ = 0;
    const uint64_t group = rows.begin / grid_.block_rows, place = rows.begin % grid_.block_rows;
    float* to = floats_;
    for (uint64_t col = cols.begin; col < cols.end;) {
      const uint64_t block = col / grid_.block_cols, in_block = col % grid_.block_cols;
      const uint64_t end = std::min(cols.end, (block + 1) * grid_.block_cols);
      const uint64_t elem = grid_.offset(group, block) +
                            in_block / grid_.chunk * grid_.chunk * grid_.block_rows +
                            place * grid_.chunk;
      Run& run = runs_[num_runs_++];
      const uint64_t in_chunk = col % grid_.chunk;
      const uint64_t whole_cols = whole_cols_of(in_chunk, end - col);
      if (whole_cols != 0) {
        run = {to, grid_.chunk, col, std::min(whole_cols, end - col)};
        decode_chunks(elem, whole_cols / grid_.chunk, to);
        to += whole_cols * num_rows_;
      } else {
        run = {to, std::min(grid_.chunk - in_chunk, end - col), col, 0};
        run.num_cols = run.chunk;
        for (uint64_t r = 0; r < num_rows_; ++r) {
          decode_run(codec_, codes_, elem + r * grid_.chunk + in_chunk, run.num_cols,
                     to + r * run.num_cols);
        }
        to += run.num_cols * num_rows_;
      }
      col += run.num_cols;
    }
  }

  // Calls f(Chunk<float>) for each chunk in the order of the cols.
  template <class F>
  HWY_INLINE void for_each_chunk(F&& f) const {
    for (size_t i = 0; i < num_runs_; ++i) {
      const Run& run = runs_[i];
      const float* w = run.w;
      for (uint64_t c = 0; c < run.num_cols; c += run.chunk, w += run.chunk * num_rows_) {
        const uint64_t num_cols = std::min<uint64_t>(run.chunk, run.num_cols - c);
        f(Chunk<float>{w, run.chunk, num_rows_, num_cols, run.col + c, 0, 0});
      }
    }
  }

 private:
  // Chunks of the same width: chunk j of all rows at w + j * chunk * num_rows.
  struct Run {
    const float* w;
    uint64_t chunk;
    uint64_t col;
    uint64_t num_cols;
  };

  // The cols of the whole chunks at a place in a chunk. At the end of the matrix a chunk whose rows
  // lie in the lanes of a vector counts as whole: padding follows, which the products leave out.
  uint64_t whole_cols_of(uint64_t in_chunk, uint64_t num_cols) const {
    if (in_chunk != 0) return 0;
    return (chunk_is_flat(grid_.chunk) ? round_up(num_cols, grid_.chunk)
                                       : num_cols / grid_.chunk * grid_.chunk);
  }

  // num_chunks chunks of the slice's rows, which lie without gaps where the slice has all rows of
  // the block.
  HWY_INLINE void decode_chunks(uint64_t elem, uint64_t num_chunks, float* to) {
    const uint64_t num_elems = num_rows_ * grid_.chunk;
    if (num_rows_ == grid_.block_rows) {
      decode_run(codec_, codes_, elem, num_chunks * num_elems, to);
      return;
    }
    for (uint64_t j = 0; j < num_chunks; ++j) {
      decode_run(codec_, codes_, elem + j * grid_.chunk * grid_.block_rows, num_elems,
                 to + j * num_elems);
    }
  }

  const Tensor& weights_;
  const BlockGrid grid_;
  const Codec codec_;
  const uint8_t* codes_;
  uint64_t num_rows_ = 0;
  size_t num_runs_ = 0;
  Run runs_[kMaxSliceCols];
  HWY_ALIGN float floats_[kSliceRows * kMaxSliceCols + kPairElems];
};

// w = code * steps[row] + mins[row].
struct RowScales {
  HWY_ALIGN float steps[kPanelRows] = {};
  HWY_ALIGN float mins[kPanelRows] = {};

  // Those of `rows` in one step of cols, to place `first`. The rows of one row group.
  template <class Codec>
  HWY_INLINE void load(const Tensor& weights, Range rows, uint64_t step, size_t first) {
    const F32Tag d;
    const size_t n = rows.length();
    const Scales<Codec> scales(weights);
    CopiedScales<Codec, kPanelRows> copy;
    if (scales.mapping().layout().kind == LayoutKind::kRowMajor) {
      for (size_t r = 0; r < n; ++r) copy.copy_row(scales.at(rows.begin + r, step), r);
    } else {
      copy.copy(scales.at(rows.begin, step), n);
    }
    for (size_t r = 0; r < n; r += kLanes) {
      const auto loaded = Codec::load_steps(copy.at(r));
      const size_t count = std::min(kLanes, n - r);
      store_floats_n(d, loaded.factor, steps + first + r, count);
      if constexpr (kHasMin<Codec>) store_floats_n(d, loaded.min, mins + first + r, count);
    }
  }
};

// y[t][row] = or += the products of one slice, for all tokens.
template <class Codec>
HWY_INLINE void multiply_slice(const MatvecArgs& args, const Slice<Codec>& slice, Range rows,
                               Range cols, bool add) {
  RowScales scales;
  scales.load<Codec>(args.weights, rows, cols.begin / kStepCols<Codec>, 0);
  const size_t num_rows = rows.length();
  for_each_turn(
      args, rows.begin,
      [&]<size_t kTokens>(const float* const* x, float* const* y, size_t num_tokens) HWY_ATTR {
        Band<kTokens> band(num_rows, slice.grid().chunk, x);
        slice.for_each_chunk([&](const Chunk<float>& chunk) HWY_ATTR { band.add(chunk); });
        HWY_ALIGN float sums[kTokens][kSliceRows];
        float* to[kTokens];
        for (size_t t = 0; t < kTokens; ++t) to[t] = sums[t];
        band.finish(to, num_tokens, false);
        for (size_t t = 0; t < num_tokens; ++t) {
          const float sum_x = kHasMin<Codec> ? sum_of(x[t] + cols.begin, cols.length()) : 0.0f;
          for (size_t r = 0; r < num_rows; ++r) {
            const float product = scales.steps[r] * sums[t][r] + scales.mins[r] * sum_x;
            y[t][r] = add ? y[t][r] + product : product;
          }
        }
      });
}

template <class Codec>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  Slice<Codec> slice(args.weights);
  for (uint64_t row = args.rows.begin; row < args.rows.end;) {
    const Range rows = slice.grid().slice(row, args.rows.end, kSliceRows);
    for (uint64_t col = 0; col < args.weights.cols(); col += kStepCols<Codec>) {
      const Range cols{col, std::min<uint64_t>(col + kStepCols<Codec>, args.weights.cols())};
      slice.decode(rows, cols);
      multiply_slice(args, slice, rows, cols, args.add || col != 0);
    }
    row = rows.end;
  }
}

template <class Codec>
void decode(const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const F32Tag d;
  Slice<Codec> slice(args.weights);
  const uint64_t end_row = args.row + args.num_rows, end_col = args.col + args.num_cols;
  for (uint64_t col = args.col; col < end_col;) {
    const uint64_t step = col / kStepCols<Codec>;
    const Range cols{col, std::min(end_col, (step + 1) * kStepCols<Codec>)};
    float* panel = args.panel + (col - args.col) * kPanelRows;
    RowScales scales;
    for (uint64_t row = args.row; row < end_row;) {
      const Range rows = slice.grid().slice(row, end_row, kSliceRows);
      const size_t first = row - args.row;
      scales.load<Codec>(args.weights, rows, step, first);
      slice.decode(rows, cols);
      slice.for_each_chunk([&](const Chunk<float>& chunk) HWY_ATTR {
        decode_chunk(chunk.w, chunk.chunk, chunk.num_rows, chunk.num_cols,
                     panel + (chunk.col - col) * kPanelRows + first);
      });
      row = rows.end;
    }
    for (size_t r = 0; r < args.num_rows; r += kLanes) {
      const F32Vec factor = hn::Load(d, scales.steps + r), min = hn::Load(d, scales.mins + r);
      for (size_t c = 0; c < cols.length(); ++c) {
        float* to = panel + c * kPanelRows + r;
        hn::Store(hn::MulAdd(hn::Load(d, to), factor, min), d, to);
      }
    }
    col = cols.end;
  }
  zero_missing_rows(args);
}

SKEIN_DEFINE_QUANT_DENSE

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

SKEIN_EXPORT_QUANT_DENSE;

bool accepts_interleave(const Layout& layout) { return layout.kind == LayoutKind::kInterleave; }
bool accepts_tile(const Layout& layout) { return layout.kind == LayoutKind::kTile; }
bool accepts_morton(const Layout& layout) { return layout.kind == LayoutKind::kMorton; }

// A slice is decoded once for all tokens, but its products go through L1.
constexpr uint32_t kMaxMatvecTokens = 8;

}  // namespace

void decode_quant_blocks(const PanelArgs& args) { HWY_DYNAMIC_DISPATCH(decode_quant)(args); }

std::span<const DenseKernel> dense_quant_blocked_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      SKEIN_QUANT_DENSE_KERNELS("blocked", "interleave(*,*,*)", accepts_interleave,
                                kMaxMatvecTokens),
      SKEIN_QUANT_DENSE_KERNELS("blocked", "tile(*,*)", accepts_tile, kMaxMatvecTokens),
      SKEIN_QUANT_DENSE_KERNELS("blocked", "morton(*)", accepts_morton, kMaxMatvecTokens)};
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
