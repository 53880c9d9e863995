// Columns of codes, for `col_major` of the quantized dtypes: sums of scaled columns, and decoding.
// What sparse() and dense() share. Compiled once per target.
//
// The sums go step by step of cols (quant_codec-inl.h). A tile of rows keeps sum(code * x) of one
// step in registers, column after column; then it meets the step's factors and minima, once for
// each row: y += factor * sum(code * x) + min * sum(x). So a product costs a load, a conversion or
// look-up and a multiply-add, and y is read and written once a step. Whatever tile a row is in, its
// sum is made in the same order.
#include "backend/cpu/quant_codec-inl.h"
#include "backend/cpu/sparse_kernel.h"
#include "hwy/highway.h"

#if defined(SKEIN_QUANT_COLS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_QUANT_COLS_INL_H
#undef SKEIN_QUANT_COLS_INL_H
#else
#define SKEIN_QUANT_COLS_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

// Pairs of a tile: on AVX-512 two cache lines of a column's codes, 8 (int8) or 16 sums. Fewer sums
// wait for each other, as FMA takes 4 cycles; 16 of int8, four lines at a time, were slower from
// memory.
template <class Codec>
inline constexpr size_t kTilePairs = Codec::kBits == 8 || kLanes < 16 ? 4 : 8;
template <class Codec>
inline constexpr size_t kTileRows = kTilePairs<Codec>* kPairElems;
template <class Codec>
inline constexpr size_t kTileBytes = kTilePairs<Codec>* kPairBytes<Codec>;

// The non-zeros of one step of cols, a block here: where each one's column of codes has its first
// row.
template <class Codec>
struct BlockCols {
  uint64_t elems[kStepCols<Codec>];
  const float* values = nullptr;
  size_t count = 0;
  float sum_x = 0;
  ScalePlace scales = {};  // of the first row
  uint64_t end = 0;        // of the block's part of the list

  // The block of x.cols[begin] and what follows it in the list; empty where that ends.
  void fill(const Tensor& weights, uint64_t row, const NonZeros& x, uint64_t begin) {
    count = 0;
    sum_x = 0;
    end = begin;
    const uint64_t list_end = begin < x.count ? x.count : x.count + x.num_next;
    if (begin == list_end) return;
    const auto& mapping = mapping_as<ColMajor>(weights);
    const uint64_t block = x.cols[begin] / kStepCols<Codec>;
    const uint64_t end_col = (block + 1) * kStepCols<Codec>;
    for (; end < list_end && x.cols[end] < end_col; ++end) {
      elems[count++] = mapping(row, uint64_t{x.cols[end]});
      sum_x += x.values[end];
    }
    values = x.values + begin;
    scales = Scales<Codec>(weights).at(row, block);
  }
};

// Asks for the columns of a list, run after run, a tile's bytes at a time: one step for every tile
// of a column that is summed, so that memory is busy all the time.
template <class Codec>
class Ahead {
 public:
  // The columns of `list`, which is not empty, from list.cols[index] on.
  Ahead(const Tensor& weights, Range rows, const NonZeros& list, uint64_t index)
      : codes_(reinterpret_cast<const uint8_t*>(weights.host_data())),
        col_elems_(mapping_as<ColMajor>(weights).col_stride()),
        first_row_(rows.begin),
        run_bytes_(rows.length() * Codec::kBits / 8),
        cols_(list.cols),
        last_(list.count + list.num_next - 1),
        index_(index),
        p_(run_of(index)),
        end_(p_ + run_bytes_) {}

  // Without branches: where a run ends is as good as random among the tiles. Behind the list its
  // last run is asked for again.
  HWY_INLINE void step() {
    for (size_t line = 0; line < kTileBytes<Codec>; line += 64) prefetch_l2(p_ + line);
    const uint8_t* after = p_ + kTileBytes<Codec>;
    const bool is_end = after >= end_;
    index_ += is_end;
    const uint8_t* next = run_of(index_);
    p_ = is_end ? next : after;
    end_ = is_end ? next + run_bytes_ : end_;
  }

  // Steps until all columns before list.cols[index] have been asked for.
  void finish(uint64_t index) {
    while (index_ < index) step();
  }

 private:
  HWY_INLINE const uint8_t* run_of(uint64_t index) const {
    return byte_of<Codec>(codes_, cols_[HWY_MIN(index, last_)] * col_elems_ + first_row_);
  }

  const uint8_t* codes_;
  const uint64_t col_elems_;
  const uint64_t first_row_;
  const size_t run_bytes_;
  const uint32_t* cols_;
  const uint64_t last_;
  uint64_t index_;  // of the run that p_ is in
  const uint8_t* p_;
  const uint8_t* end_;
};

// What a tile asks for: a step ahead for each of its columns, and the scales of its rows that a
// later block needs, two lines a column. Of q4_k's words, which serve eight blocks, one word a
// block.
template <class Codec>
struct TileAhead {
  TileAhead(Ahead<Codec>& codes_ahead, ScalePlace later)
      : codes(codes_ahead),
        scales(later.p + later.run % Codec::kWords * later.word_stride),
        scales_end(scales + kTileRows<Codec> * Codec::kWordBytes) {}

  Ahead<Codec>& codes;
  const uint8_t* scales;
  const uint8_t* scales_end;

  // `run`: the tile's codes of the column that is summed.
  HWY_INLINE void step(const uint8_t* run) {
    codes.step();
    if (scales < scales_end) ask_for_scales();
    // The next tile's codes are in L2 by now. For 4-bit codes, with twice the work a byte, asking
    // costs more than waiting: Zen 5, all in L2, 5.6 us without and 5.9 with it.
    if constexpr (Codec::kBits == 8) {
      for (size_t line = 0; line < kTileBytes<Codec>; line += 64) {
        prefetch_l1(run + kTileBytes<Codec> + line);
      }
    }
  }
  HWY_INLINE void finish() {
    while (scales < scales_end) ask_for_scales();
  }
  HWY_INLINE void ask_for_scales() {
    prefetch_l2(scales);
    prefetch_l2(scales + 64);
    scales += 128;
  }
};

struct NothingAhead {
  HWY_INLINE void step(const uint8_t*) {}
  HWY_INLINE void finish() {}
};

// y[0, kPairs * kPairElems) += the block's products of the rows from `row` on.
template <size_t kPairs, class Codec, class AheadOfTile>
HWY_INLINE void add_tile(const Codec& codec, const BlockCols<Codec>& block, const uint8_t* codes,
                         size_t row, ScalePlace scales, float* y, AheadOfTile ahead) {
  const F32Tag d;
  VecPair acc[kPairs];
  HWY_UNROLL(16)
  for (size_t v = 0; v < kPairs; ++v) acc[v] = {hn::Zero(d), hn::Zero(d)};
  for (size_t i = 0; i < block.count; ++i) {
    const uint8_t* run = byte_of<Codec>(codes, block.elems[i] + row);
    ahead.step(run);
    const F32Vec x = hn::Set(d, block.values[i]);
    HWY_UNROLL(16)
    for (size_t v = 0; v < kPairs; ++v) {
      const VecPair w = codec.load_pair(run + v * kPairBytes<Codec>);
      acc[v] = {hn::MulAdd(w.a, x, acc[v].a), hn::MulAdd(w.b, x, acc[v].b)};
    }
  }
  ahead.finish();
  const F32Vec sum_x = hn::Set(d, block.sum_x);
  HWY_UNROLL(16)
  for (size_t v = 0; v < kPairs; ++v) {
    const VecPair sums = Codec::in_order(acc[v]);
    float* to = y + v * kPairElems;
    const ScalePlace at = skip_rows<Codec>(scales, v * kPairElems);
    hn::StoreU(Codec::load_steps(at).add(sums.a, sum_x, hn::LoadU(d, to)), d, to);
    hn::StoreU(Codec::load_steps(skip_rows<Codec>(at, kLanes))
                   .add(sums.b, sum_x, hn::LoadU(d, to + kLanes)),
               d, to + kLanes);
  }
}

// The same for a pair that is not whole or whose columns begin in the middle of a byte: through
// copies.
template <class Codec>
HWY_NOINLINE void add_copied_pair(const Codec& codec, const BlockCols<Codec>& block,
                                  const uint8_t* codes, size_t row, size_t num_rows,
                                  ScalePlace scales, float* y) {
  HWY_ALIGN uint8_t copies[kStepCols<Codec> * kPairBytes<Codec>];
  CopiedScales<Codec, kPairElems> pair_scales;
  HWY_ALIGN float pair_y[kPairElems] = {};
  BlockCols<Codec> copied;
  copied.values = block.values;
  copied.count = block.count;
  copied.sum_x = block.sum_x;
  std::memset(copies, 0, block.count * kPairBytes<Codec>);
  for (size_t i = 0; i < block.count; ++i) {
    copy_codes<Codec>(codes, block.elems[i] + row, num_rows, copies + i * kPairBytes<Codec>);
    copied.elems[i] = i * kPairElems;
  }
  pair_scales.copy(scales, num_rows);
  std::memcpy(pair_y, y, num_rows * sizeof(float));
  add_tile<1>(codec, copied, copies, 0, pair_scales.at(0), pair_y, NothingAhead());
  std::memcpy(y, pair_y, num_rows * sizeof(float));
}

// The block's products of all rows: whole tiles, then pairs. `ahead` steps, and the scales of the
// same rows at `later_scales` are asked for.
template <class Codec>
HWY_INLINE void add_block(const Codec& codec, const BlockCols<Codec>& block, const uint8_t* codes,
                          size_t num_rows, bool whole_bytes, float* y, ScalePlace later_scales,
                          Ahead<Codec>& ahead) {
  size_t row = 0;
  for (; whole_bytes && row + kTileRows<Codec> <= num_rows; row += kTileRows<Codec>) {
    add_tile<kTilePairs<Codec>>(codec, block, codes, row, skip_rows<Codec>(block.scales, row),
                                y + row,
                                TileAhead<Codec>(ahead, skip_rows<Codec>(later_scales, row)));
  }
  for (; whole_bytes && row + kPairElems <= num_rows; row += kPairElems) {
    add_tile<1>(codec, block, codes, row, skip_rows<Codec>(block.scales, row), y + row,
                NothingAhead());
  }
  for (; row < num_rows; row += kPairElems) {
    add_copied_pair(codec, block, codes, row, HWY_MIN(kPairElems, num_rows - row),
                    skip_rows<Codec>(block.scales, row), y + row);
  }
}

// y[row - rows.begin] = or += sum over the non-zeros of W[row][col] * value, in their order. When a
// block is summed, its columns have been asked for; those of the next one are, meanwhile, and the
// scales of the one behind that.
//
// Measured 2026-11-23, Zen 5 under load, 2048 x 8192, 10 % of cols, one thread, in pairs with the
// form before (a block's prefetches spread over the one before it, with branches): nf4 74 to 66 us
// from memory, int8 95 to 78. Not better: two blocks ahead (int8 88), prefetching every other line
// (twice the time), 4-bit codes as whole lines shifted by 4, 8, ... bits. Floor, nf4: 1.4 MB are 37
// us; 8 vectors 1.74 ns, 23 us of 42 from L3, where lines and prefetches cost 1.5 cycles each.
template <class Codec>
HWY_NOINLINE void add_quant_cols(const Tensor& weights, Range rows, NonZeros x, float* y,
                                 bool add) {
  const Codec codec(weights.dtype());
  const uint8_t* codes = reinterpret_cast<const uint8_t*>(weights.host_data());
  const size_t num_rows = rows.length();
  // Columns then all begin a byte.
  const bool whole_bytes = begins_byte<Codec>(mapping_as<ColMajor>(weights).col_stride()) &&
                           begins_byte<Codec>(rows.begin);
  if (!add) std::memset(y, 0, num_rows * sizeof(float));
  if (x.count == 0) return;
  BlockCols<Codec> blocks[3];
  blocks[0].fill(weights, rows.begin, x, 0);
  blocks[1].fill(weights, rows.begin, x, blocks[0].end);
  Ahead<Codec> ahead(weights, rows, x, x.is_asked_for ? blocks[0].end : 0);
  ahead.finish(blocks[0].end);
  for (uint32_t turn = 0;; ++turn) {
    const BlockCols<Codec>& block = blocks[turn % 3];
    const BlockCols<Codec>& next = blocks[(turn + 1) % 3];
    BlockCols<Codec>& after = blocks[(turn + 2) % 3];
    after.fill(weights, rows.begin, x, next.end);
    add_block(codec, block, codes, num_rows, whole_bytes, y,
              after.count != 0 ? after.scales : block.scales, ahead);
    ahead.finish(next.end);
    if (block.end == x.count) return;
  }
}

// panel[col - cols.begin][0, num_rows) of `stride` floats a col = W[rows][cols].
template <class Codec>
HWY_NOINLINE void decode_quant_cols(const Tensor& weights, Range rows, Range cols, float* panel,
                                    size_t stride) {
  const F32Tag d;
  const Codec codec(weights.dtype());
  const auto& mapping = mapping_as<ColMajor>(weights);
  const uint8_t* codes = reinterpret_cast<const uint8_t*>(weights.host_data());
  const Scales<Codec> all_scales(weights);
  // A column's run here is short, so the hardware sees no stream.
  constexpr uint64_t kColsAhead = 12;
  for (uint64_t first = cols.begin; first < cols.end;) {
    const uint64_t block = first / kStepCols<Codec>;
    const uint64_t end = HWY_MIN(cols.end, (block + 1) * kStepCols<Codec>);
    for (uint64_t row = rows.begin; row < rows.end; row += kPairElems) {
      const size_t num_rows = HWY_MIN(kPairElems, rows.end - row);
      CopiedScales<Codec, kPairElems> scales;
      scales.copy(all_scales.at(row, block), num_rows);
      const auto steps_a = Codec::load_steps(scales.at(0));
      const auto steps_b = Codec::load_steps(scales.at(kLanes));
      for (uint64_t col = first; col < end; ++col) {
        const uint64_t elem = mapping(row, col);
        prefetch_l2(byte_of<Codec>(codes, elem + kColsAhead * mapping.col_stride()));
        HWY_ALIGN uint8_t copy[kPairBytes<Codec>] = {};
        const uint8_t* run = byte_of<Codec>(codes, elem);
        const bool is_whole = num_rows == kPairElems && begins_byte<Codec>(elem);
        if (!is_whole) copy_codes<Codec>(codes, elem, num_rows, copy);
        const VecPair w = Codec::in_order(codec.load_pair(is_whole ? run : copy));
        float* to = panel + (col - cols.begin) * stride + (row - rows.begin);
        add_or_store(d, steps_a.weight(w.a), to, num_rows, false);
        if (num_rows > kLanes) {
          add_or_store(d, steps_b.weight(w.b), to + kLanes, num_rows - kLanes, false);
        }
      }
    }
    first = end;
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
