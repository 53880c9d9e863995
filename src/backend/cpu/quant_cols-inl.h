// Columns of codes, for `col_major` of the quantized dtypes: sums of scaled columns, and decoding.
// What sparse() and dense() share. Compiled once per target.
//
// The sums go block by block of cols. A tile of rows keeps sum(code * x) of one block in registers,
// column after column; then it meets the block's scales, once for each row:
//
//   int8       y += step * sum(code * x) + min * sum(x), step = (max - min) / 255
//   nf4, sf4   y += absmax * sum(code * x)
//
// so a product costs a load, a conversion or look-up and a multiply-add, and y is read and written
// once a block. Whatever tile a row is in, its sum is made in the same order.
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

// Pairs of a tile: on AVX-512 a cache line of codes, 4 (int8) or 8 sums.
template <class Codec>
inline constexpr size_t kTilePairs = Codec::kBits == 8 ? 2 : 4;
template <class Codec>
inline constexpr size_t kTileRows = kTilePairs<Codec>* kPairElems;
template <class Codec>
inline constexpr size_t kTileBytes = kTilePairs<Codec>* kPairBytes<Codec>;

// The non-zeros of one block of cols: where each one's column of codes has its first row.
template <class Codec>
struct BlockCols {
  uint64_t elems[kBlockCols<Codec>];
  const float* values = nullptr;
  size_t count = 0;
  float sum_x = 0;
  const uint8_t* scales = nullptr;  // of the first row

  // The block of x.cols[begin] and what follows it in the list; empty where the list ends. Returns
  // the end of that part.
  uint64_t fill(const Tensor& weights, uint64_t row, const NonZeros& x, uint64_t begin) {
    count = 0;
    sum_x = 0;
    if (begin == x.count) return begin;
    const auto& mapping = mapping_as<ColMajor>(weights);
    const uint64_t block = x.cols[begin] / kBlockCols<Codec>;
    const uint64_t end_col = (block + 1) * kBlockCols<Codec>;
    uint64_t i = begin;
    for (; i < x.count && x.cols[i] < end_col; ++i) {
      elems[count++] = mapping(row, uint64_t{x.cols[i]});
      sum_x += x.values[i];
    }
    values = x.values + begin;
    scales = reinterpret_cast<const uint8_t*>(weights.scales_data()) +
             weights.scales_mapping()(row, block) * sizeof(typename Codec::Scale);
    return i;
  }
};

// Asks for the columns of a block, run after run, a tile's bytes at a time.
template <class Codec>
class Ahead {
 public:
  // num_rows rows of each column of `block`.
  Ahead(const BlockCols<Codec>& block, const uint8_t* codes, size_t num_rows)
      : block_(block), codes_(codes), run_bytes_(num_rows * Codec::kBits / 8), p_(codes) {
    begin_run();
  }

  HWY_INLINE void step() {
    prefetch_l2(p_);
    p_ += kTileBytes<Codec>;
    if (p_ < end_) return;
    ++run_;
    begin_run();
  }

 private:
  void begin_run() {
    if (run_ < block_.count) p_ = byte_of<Codec>(codes_, block_.elems[run_]);
    end_ = p_ + run_bytes_;
  }

  const BlockCols<Codec>& block_;
  const uint8_t* codes_;
  const size_t run_bytes_;
  const uint8_t* p_;
  const uint8_t* end_;
  size_t run_ = 0;
};

// y[0, kTileRows) += the block's products of the rows from `row` on; makes num_ahead steps of
// `ahead`.
template <class Codec>
HWY_INLINE void add_tile(const Codec& codec, const BlockCols<Codec>& block, const uint8_t* codes,
                         size_t row, const uint8_t* scales, float* y, Ahead<Codec>& ahead,
                         size_t num_ahead) {
  const F32Tag d;
  constexpr size_t kPairs = kTilePairs<Codec>;
  VecPair acc[kPairs];
  HWY_UNROLL(16)
  for (size_t v = 0; v < kPairs; ++v) acc[v] = {hn::Zero(d), hn::Zero(d)};
  for (size_t i = 0; i < block.count; ++i) {
    if (i < num_ahead) ahead.step();
    const uint8_t* run = byte_of<Codec>(codes, block.elems[i] + row);
    const F32Vec x = hn::Set(d, block.values[i]);
    HWY_UNROLL(16)
    for (size_t v = 0; v < kPairs; ++v) {
      const VecPair w = codec.load_pair(run + v * kPairBytes<Codec>);
      acc[v] = {hn::MulAdd(w.a, x, acc[v].a), hn::MulAdd(w.b, x, acc[v].b)};
    }
  }
  for (size_t i = block.count; i < num_ahead; ++i) ahead.step();
  const F32Vec sum_x = hn::Set(d, block.sum_x);
  HWY_UNROLL(16)
  for (size_t v = 0; v < kPairs; ++v) {
    const VecPair sums = Codec::in_order(acc[v]);
    float* to = y + v * kPairElems;
    const uint8_t* steps = scales + v * kPairElems * sizeof(typename Codec::Scale);
    hn::StoreU(Codec::load_steps(steps).add(sums.a, sum_x, hn::LoadU(d, to)), d, to);
    hn::StoreU(Codec::load_steps(steps + kLanes * sizeof(typename Codec::Scale))
                   .add(sums.b, sum_x, hn::LoadU(d, to + kLanes)),
               d, to + kLanes);
  }
}

// The same for a tile that is not whole or whose columns begin in the middle of a byte: through
// copies.
template <class Codec>
HWY_NOINLINE void add_copied_tile(const Codec& codec, const BlockCols<Codec>& block,
                                  const uint8_t* codes, size_t row, size_t num_rows,
                                  const uint8_t* scales, float* y) {
  HWY_ALIGN uint8_t copies[kBlockCols<Codec> * kTileBytes<Codec>];
  HWY_ALIGN uint8_t tile_scales[kTileRows<Codec> * sizeof(typename Codec::Scale)] = {};
  HWY_ALIGN float tile_y[kTileRows<Codec>] = {};
  BlockCols<Codec> copied;
  copied.values = block.values;
  copied.count = block.count;
  copied.sum_x = block.sum_x;
  std::memset(copies, 0, block.count * kTileBytes<Codec>);
  for (size_t i = 0; i < block.count; ++i) {
    copy_codes<Codec>(codes, block.elems[i] + row, num_rows, copies + i * kTileBytes<Codec>);
    copied.elems[i] = i * kTileRows<Codec>;
  }
  std::memcpy(tile_scales, scales, num_rows * sizeof(typename Codec::Scale));
  std::memcpy(tile_y, y, num_rows * sizeof(float));
  Ahead<Codec> nothing(copied, copies, 0);
  add_tile(codec, copied, copies, 0, tile_scales, tile_y, nothing, 0);
  std::memcpy(y, tile_y, num_rows * sizeof(float));
}

// y[row - rows.begin] = or += sum over the non-zeros of W[row][col] * value, in their order. The
// columns of one block are asked for while the block before it is summed.
template <class Codec>
HWY_NOINLINE void add_quant_cols(const Tensor& weights, Range rows, NonZeros x, float* y,
                                 bool add) {
  const Codec codec(weights.dtype());
  const uint8_t* codes = reinterpret_cast<const uint8_t*>(weights.host_data());
  const size_t num_rows = rows.length();
  constexpr size_t kScaleBytes = sizeof(typename Codec::Scale);
  // Columns then all begin a byte.
  const bool whole_bytes = begins_byte<Codec>(mapping_as<ColMajor>(weights).col_stride()) &&
                           begins_byte<Codec>(rows.begin);
  if (!add) std::memset(y, 0, num_rows * sizeof(float));
  BlockCols<Codec> blocks[2];
  uint64_t end = blocks[0].fill(weights, rows.begin, x, 0);
  Ahead<Codec> first(blocks[0], codes, num_rows);
  for (size_t i = 0; i < blocks[0].count * ceil_div(num_rows, kTileRows<Codec>); ++i) first.step();
  for (uint32_t turn = 0; blocks[turn % 2].count != 0; ++turn) {
    const BlockCols<Codec>& block = blocks[turn % 2];
    BlockCols<Codec>& next = blocks[(turn + 1) % 2];
    end = next.fill(weights, rows.begin, x, end);
    Ahead<Codec> ahead(next, codes, num_rows);
    size_t row = 0;
    for (; whole_bytes && row + kTileRows<Codec> <= num_rows; row += kTileRows<Codec>) {
      if (next.count != 0) {
        for (size_t bytes = 0; bytes < kTileRows<Codec> * kScaleBytes; bytes += 64) {
          prefetch_l2(next.scales + row * kScaleBytes + bytes);
        }
      }
      add_tile(codec, block, codes, row, block.scales + row * kScaleBytes, y + row, ahead,
               next.count);
    }
    for (; row < num_rows; row += kTileRows<Codec>) {
      add_copied_tile(codec, block, codes, row, HWY_MIN(kTileRows<Codec>, num_rows - row),
                      block.scales + row * kScaleBytes, y + row);
    }
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
  const uint8_t* all_scales = reinterpret_cast<const uint8_t*>(weights.scales_data());
  constexpr size_t kScaleBytes = sizeof(typename Codec::Scale);
  // A column's run here is short, so the hardware sees no stream.
  constexpr uint64_t kColsAhead = 12;
  for (uint64_t first = cols.begin; first < cols.end;) {
    const uint64_t block = first / kBlockCols<Codec>;
    const uint64_t end = HWY_MIN(cols.end, (block + 1) * kBlockCols<Codec>);
    for (uint64_t row = rows.begin; row < rows.end; row += kPairElems) {
      const size_t num_rows = HWY_MIN(kPairElems, rows.end - row);
      HWY_ALIGN uint8_t scales[kPairElems * kScaleBytes] = {};
      std::memcpy(scales, all_scales + weights.scales_mapping()(row, block) * kScaleBytes,
                  num_rows * kScaleBytes);
      const auto steps_a = Codec::load_steps(scales);
      const auto steps_b = Codec::load_steps(scales + kLanes * kScaleBytes);
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
