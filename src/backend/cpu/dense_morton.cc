// dense for `morton(T)`: squares of tiles in the order of the curve.
//
// The curve goes through the whole matrix, a thread only through its rows, so rows are shared out
// in bands of 2^k tiles, aligned to 2^k, about band_rows() rows high. The curve visits such a band
// square by square, each a piece of memory without gaps (128 x 128 elements of f16: 32 KiB), and
// the squares from left to right. So a square's place is asked for once (Morton::tile_offset), its
// tiles follow one another, and a row still meets its cols in ascending order, whatever the band:
// results depend neither on bands nor on threads.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_morton.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <array>
#include <bit>

#include "backend/cpu/dense_blocked-inl.h"
#include "backend/cpu/dense_table.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

// A tile as the walk meets it; row and col are elements' and may begin before the walk's.
struct MortonTile {
  uint64_t row;
  uint64_t col;
  uint64_t offset;        // elements
  ptrdiff_t ahead_elems;  // from an element to the one that is read kAheadBytes later
};

// How far ahead weights are asked for. The hardware's streams end with each square, so that this
// has to cover the latency of memory alone. Measured 2026-11-23, Zen 5 under load, 8192 x 2048 f16,
// one thread, T = 16, 32, 64, squares of 128 rows: 4 KiB 28, 31, 25 GB/s; 8 KiB 31, 33, 34; 16 KiB
// 31, 30, 31. Squares of 64 rows: 2 KiB 19, 22, 23; 8 KiB 24, 27, 28.
constexpr uint64_t kAheadBytes = 8192;

// Tiles of the side of a square about `num_rows` high: a power of two.
HWY_INLINE uint64_t square_side(const Morton& mapping, uint64_t num_rows) {
  const uint64_t longest = HWY_MAX(mapping.grid().rows, mapping.grid().cols);
  return HWY_MIN(std::bit_floor(HWY_MAX(num_rows / mapping.side(), uint64_t{1})),
                 std::bit_ceil(longest));
}

// The tile's row and col in a square of 16 x 16, by its place on the curve: the odd and the even
// bits of z. Larger squares are squares of these.
struct CurvePlace {
  uint8_t row = 0;
  uint8_t col = 0;
};
constexpr std::array<CurvePlace, 256> kCurve = [] {
  std::array<CurvePlace, 256> curve;
  for (uint32_t z = 0; z < 256; ++z) {
    for (uint32_t bit = 0; bit < 4; ++bit) {
      curve[z].col |= static_cast<uint8_t>((z >> (2 * bit) & 1) << bit);
      curve[z].row |= static_cast<uint8_t>((z >> (2 * bit + 1) & 1) << bit);
    }
  }
  return curve;
}();

// Calls f(MortonTile) for the tiles of one square that touch `rows` and `cols`, in the order of the
// curve. `corner` is the first tile's offset, `next` that of the square to come. The curve's order
// in an aligned square is that of the interleaved bits of the tile's row and col; tiles that the
// grid does not have take no place.
template <class F>
HWY_INLINE void for_each_tile_of_square(const Morton& mapping, uint64_t side, Extents first,
                                        Range rows, Range cols, uint64_t corner, uint64_t next,
                                        uint64_t ahead_elems, F&& f) {
  const uint64_t tile_side = mapping.side();
  const Extents grid = mapping.grid();
  const uint64_t num_tiles =
      HWY_MIN(side, grid.rows - first.rows) * HWY_MIN(side, grid.cols - first.cols);
  const uint64_t end = corner + num_tiles * mapping.tile_stride();
  uint64_t offset = corner;
  for (uint64_t z = 0; z < side * side; ++z) {
    const CurvePlace low = kCurve[z & 255], high = kCurve[z >> 8];
    const uint64_t tile_row = first.rows + low.row + high.row * uint64_t{16};
    const uint64_t tile_col = first.cols + low.col + high.col * uint64_t{16};
    if (tile_row >= grid.rows || tile_col >= grid.cols) continue;
    const uint64_t row = tile_row * tile_side, col = tile_col * tile_side;
    if (row < rows.end && row + tile_side > rows.begin && col < cols.end &&
        col + tile_side > cols.begin) {
      const uint64_t ahead = offset + ahead_elems;
      const uint64_t target = ahead < end ? ahead : next + (ahead - end);
      f(MortonTile{row, col, offset, static_cast<ptrdiff_t>(target - offset)});
    }
    offset += mapping.tile_stride();
  }
}

// Calls f(MortonTile) for each tile that touches `rows` and `cols`. All rows lie in one band of
// squares of `side` tiles.
template <class F>
HWY_INLINE void for_each_tile(const Morton& mapping, uint64_t side, Range rows, Range cols,
                              uint64_t ahead_elems, F&& f) {
  const uint64_t tile_row = rows.begin / mapping.side() / side * side;
  uint64_t tile_col = cols.begin / mapping.side() / side * side;
  uint64_t corner = mapping.tile_offset(tile_row, tile_col);
  while (tile_col * mapping.side() < cols.end) {
    const uint64_t next_col = tile_col + side;
    const bool is_last = next_col * mapping.side() >= cols.end;
    const uint64_t next = is_last ? corner : mapping.tile_offset(tile_row, next_col);
    for_each_tile_of_square(mapping, side, {tile_row, tile_col}, rows, cols, corner, next,
                            ahead_elems, f);
    tile_col = next_col;
    corner = next;
  }
}

// The rows from rows.begin on that share a band of squares; at most `most`, for tiles higher than
// that.
HWY_INLINE Range first_band(const Morton& mapping, uint64_t side, Range rows, uint64_t most) {
  const uint64_t height = side * mapping.side();
  const uint64_t band_end = (rows.begin / height + 1) * height;
  return {rows.begin, HWY_MIN(HWY_MIN(rows.end, band_end), rows.begin + most)};
}

template <class E>
void matvec(const MatvecArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const auto& mapping = mapping_as<Morton>(args.weights);
  const E* weights = reinterpret_cast<const E*>(args.weights.host_data());
  const uint64_t chunk = mapping.side(), cols = args.weights.cols();
  const uint64_t side = square_side(mapping, band_rows(args.num_tokens));
  for (Range rest = args.rows; !rest.empty();) {
    const Range rows = first_band(mapping, side, rest, band_rows(args.num_tokens));
    for_each_turn(
        args, rows.begin,
        [&]<size_t kTokens>(const float* const* x, float* const* y, size_t num_tokens) HWY_ATTR {
          Band<kTokens> band(rows.length(), chunk, x);
          for_each_tile(mapping, side, rows, {0, cols}, kAheadBytes / sizeof(E),
                        [&](const MortonTile& tile) HWY_ATTR {
                          const uint64_t first = HWY_MAX(tile.row, rows.begin);
                          const uint64_t end = HWY_MIN(tile.row + chunk, rows.end);
                          band.add(Chunk<E>{weights + tile.offset + (first - tile.row) * chunk,
                                            chunk, end - first, HWY_MIN(chunk, cols - tile.col),
                                            tile.col, first - rows.begin,
                                            tile.ahead_elems * static_cast<ptrdiff_t>(sizeof(E))});
                        });
          band.finish(y, num_tokens, args.add);
        });
    rest.begin = rows.end;
  }
}

template <class E>
void decode(const PanelArgs& args) {
  record_executed_cpu_target(HWY_TARGET);
  const auto& mapping = mapping_as<Morton>(args.weights);
  const E* weights = reinterpret_cast<const E*>(args.weights.host_data());
  const uint64_t chunk = mapping.side();
  const Range cols{args.col, args.col + args.num_cols};
  const uint64_t side = square_side(mapping, kPanelRows);
  for (Range rest{args.row, args.row + args.num_rows}; !rest.empty();) {
    const Range rows = first_band(mapping, side, rest, kPanelRows);
    for_each_tile(mapping, side, rows, cols, 0, [&](const MortonTile& tile) HWY_ATTR {
      const uint64_t row = HWY_MAX(tile.row, rows.begin), col = HWY_MAX(tile.col, cols.begin);
      const uint64_t num_rows = HWY_MIN(tile.row + chunk, rows.end) - row;
      const uint64_t num_cols = HWY_MIN(tile.col + chunk, cols.end) - col;
      decode_chunk(weights + tile.offset + (row - tile.row) * chunk + (col - tile.col), chunk,
                   num_rows, num_cols,
                   args.panel + (col - cols.begin) * kPanelRows + (row - args.row));
    });
    rest.begin = rows.end;
  }
  zero_missing_rows(args);
}

void matvec_f32(const MatvecArgs& args) { matvec<float>(args); }
void matvec_f16(const MatvecArgs& args) { matvec<F16>(args); }
void matvec_bf16(const MatvecArgs& args) { matvec<BF16>(args); }
void decode_f32(const PanelArgs& args) { decode<float>(args); }
void decode_f16(const PanelArgs& args) { decode<F16>(args); }
void decode_bf16(const PanelArgs& args) { decode<BF16>(args); }

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

SKEIN_EXPORT_PLAIN_DENSE;

bool accepts(const Layout& layout) { return layout.kind == LayoutKind::kMorton; }

// Measured 2026-11-23, Zen 5 under load, 2048 x 2048 f16, morton(32), one thread: 8 tokens take 830
// us this way, 16 a panel way 2360 us, 32 3000 us.
constexpr uint32_t kMaxMatvecTokens = 16;

constexpr std::string_view kLayouts = "morton(*)";

}  // namespace

std::span<const DenseKernel> dense_morton_kernels() noexcept {
  static constexpr DenseKernel kKernels[] = {
      SKEIN_PLAIN_DENSE_KERNELS("morton", kLayouts, accepts, kMaxMatvecTokens)};
  return kKernels;
}

}  // namespace skein
#endif  // HWY_ONCE
