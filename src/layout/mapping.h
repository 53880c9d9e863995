// The mappings: (row, col) -> offset in elements. The one place in Skein that states where an
// element lies.
//
// Each is a small copyable value with the interface of std::mdspan's layout mappings in our
// spelling:
//
//   extents()                rows and cols
//   operator()(row, col)     the element's offset, in elements; row < rows, col < cols
//   required_span_size()     the elements the mapping needs, all padding included
//   is_unique()              no two elements share an offset: true for all of them
//   is_exhaustive()          no padding: every offset below the span is an element's
//   is_strided()             whether the offset is row * stride(0) + col * stride(1)
//   stride(r)                those strides, in elements; only where is_strided()
//
// Laws (mapping_test.cc): every offset is unique and below required_span_size(); where
// is_exhaustive() the largest is the span - 1. Blocked mappings answer is_strided() with false even
// for a small shape that happens to be strided.
//
// operator() is a template on the index type and uses only + - * / % &, min_of() and let(): one
// body serves constexpr C++ with uint32_t and uint64_t, CUDA on both sides, and WGSL text (wgsl.h,
// whose index type builds a string). An integer index type must hold required_span_size() - 1; then
// no intermediate result wraps either.
//
// Non-goals: checking (make_mapping() in any_mapping.h checks the world's values, the constructors
// CHECK ours), decoding, and speed per element in blocked layouts: a hot loop asks for a block's
// offset once.
//
// nvcc compiles this header, so nothing here may include fmt or tl::expected.
#pragma once

#include <bit>
#include <cstdint>

#include "base/bits.h"
#include "base/check.h"
#include "layout/extents.h"
#include "layout/host_device.h"

namespace skein {

// The smaller of two indices; wgsl.h overloads it for text.
template <class Index>
SKEIN_HD constexpr Index min_of(Index a, Index b) noexcept {
  return b < a ? b : a;
}

// Names an intermediate value. Costs nothing for integers; the WGSL text gets `let name = ...;`.
template <class Index>
SKEIN_HD constexpr Index let(const char* /*name*/, Index value) noexcept {
  return value;
}

// row_major: the cols of one row side by side, rows row_stride elements apart.
class RowMajor {
 public:
  // row_stride >= cols.
  constexpr RowMajor(Extents extents, uint64_t row_stride)
      : extents_(extents), row_stride_(row_stride) {
    CHECK(row_stride >= extents.cols);
  }

  SKEIN_HD constexpr Extents extents() const noexcept { return extents_; }
  SKEIN_HD constexpr uint64_t row_stride() const noexcept { return row_stride_; }
  SKEIN_HD constexpr uint64_t required_span_size() const noexcept {
    return extents_.rows * row_stride_;
  }
  static constexpr bool is_unique() noexcept { return true; }
  static constexpr bool is_strided() noexcept { return true; }
  constexpr bool is_exhaustive() const noexcept { return row_stride_ == extents_.cols; }
  constexpr uint64_t stride(int r) const noexcept { return r == 0 ? row_stride_ : 1; }

  template <class Index>
  SKEIN_HD constexpr Index operator()(Index row, Index col) const noexcept {
    return row * Index(row_stride_) + col;
  }

 private:
  Extents extents_;
  uint64_t row_stride_;  // elements
};

// col_major: the rows of one col side by side, cols col_stride elements apart.
class ColMajor {
 public:
  // col_stride >= rows.
  constexpr ColMajor(Extents extents, uint64_t col_stride)
      : extents_(extents), col_stride_(col_stride) {
    CHECK(col_stride >= extents.rows);
  }

  SKEIN_HD constexpr Extents extents() const noexcept { return extents_; }
  SKEIN_HD constexpr uint64_t col_stride() const noexcept { return col_stride_; }
  SKEIN_HD constexpr uint64_t required_span_size() const noexcept {
    return extents_.cols * col_stride_;
  }
  static constexpr bool is_unique() noexcept { return true; }
  static constexpr bool is_strided() noexcept { return true; }
  constexpr bool is_exhaustive() const noexcept { return col_stride_ == extents_.rows; }
  constexpr uint64_t stride(int r) const noexcept { return r == 0 ? 1 : col_stride_; }

  template <class Index>
  SKEIN_HD constexpr Index operator()(Index row, Index col) const noexcept {
    return col * Index(col_stride_) + row;
  }

 private:
  Extents extents_;
  uint64_t col_stride_;  // elements
};

// interleave(R,B,K) and tile(R,C): blocks of R rows by B cols. The blocks of one row group (R rows)
// follow one another, then comes the next row group. Inside a block, chunks of K cols of its R rows
// in turn. Edge blocks are whole: rows and cols are padded to multiples of R and B.
class Interleave {
 public:
  // chunk_cols divides block_cols; block_stride >= block_rows * block_cols.
  constexpr Interleave(Extents extents, uint32_t block_rows, uint32_t block_cols,
                       uint32_t chunk_cols, uint64_t block_stride)
      : extents_(extents),
        block_rows_(block_rows),
        block_cols_(block_cols),
        chunk_cols_(chunk_cols),
        block_stride_(block_stride) {
    CHECK(block_rows != 0 && block_cols != 0 && chunk_cols != 0);
    CHECK(block_cols % chunk_cols == 0);
    CHECK(block_stride >= uint64_t{block_rows} * block_cols);
    group_stride_ = ceil_div<uint64_t>(extents.cols, block_cols) * block_stride;
    span_ = ceil_div<uint64_t>(extents.rows, block_rows) * group_stride_;
  }

  SKEIN_HD constexpr Extents extents() const noexcept { return extents_; }
  SKEIN_HD constexpr uint32_t block_rows() const noexcept { return block_rows_; }
  SKEIN_HD constexpr uint32_t block_cols() const noexcept { return block_cols_; }
  SKEIN_HD constexpr uint32_t chunk_cols() const noexcept { return chunk_cols_; }
  SKEIN_HD constexpr uint64_t block_stride() const noexcept { return block_stride_; }
  SKEIN_HD constexpr uint64_t group_stride() const noexcept { return group_stride_; }
  SKEIN_HD constexpr uint64_t required_span_size() const noexcept { return span_; }
  static constexpr bool is_unique() noexcept { return true; }
  static constexpr bool is_strided() noexcept { return false; }
  constexpr bool is_exhaustive() const noexcept { return span_ == extents_.num_elems(); }

  // Where the block of row group `row_group` (row / R) and block `col_block` (col / B) starts.
  template <class Index>
  SKEIN_HD constexpr Index block_offset(Index row_group, Index col_block) const noexcept {
    return row_group * Index(group_stride_) + col_block * Index(block_stride_);
  }

  template <class Index>
  SKEIN_HD constexpr Index operator()(Index row, Index col) const noexcept {
    const Index block_rows = Index(block_rows_);
    const Index block_cols = Index(block_cols_);
    const Index chunk_cols = Index(chunk_cols_);
    const Index start = let("block_offset", block_offset(row / block_rows, col / block_cols));
    // The chunk's place in the block. K divides B, so col % K is the place in the chunk.
    const Index chunk = let("chunk", col % block_cols / chunk_cols * block_rows + row % block_rows);
    return start + chunk * chunk_cols + col % chunk_cols;
  }

 private:
  Extents extents_;
  uint32_t block_rows_;        // R
  uint32_t block_cols_;        // B
  uint32_t chunk_cols_;        // K
  uint64_t block_stride_;      // elements from one block to the next
  uint64_t group_stride_ = 0;  // elements from one row group to the next
  uint64_t span_ = 0;          // elements
};

// morton(T): T x T tiles, row-major inside, along a Z-order curve over the grid of tiles: top left,
// top right, bottom left, bottom right, and so in each quadrant. The col has the low bits of the
// curve, not the row, so that neighbours along a row are close, as everywhere else here.
//
// The grid may have any shape. A tile's place is the number of tiles of the grid before it on the
// curve, so the grid wastes nothing, where plain bit interleaving needs a square grid of a power of
// two. Only edge tiles hold padding.
class Morton {
 public:
  // tile_stride >= side * side.
  constexpr Morton(Extents extents, uint32_t side, uint64_t tile_stride)
      : extents_(extents), side_(side), tile_stride_(tile_stride) {
    CHECK(side != 0 && tile_stride >= uint64_t{side} * side);
    grid_ = {ceil_div<uint64_t>(extents.rows, side), ceil_div<uint64_t>(extents.cols, side)};
    square_ = std::bit_ceil(min_of(grid_.rows, grid_.cols));
    strip_bits_ =
        (std::bit_ceil(grid_.rows < grid_.cols ? grid_.cols : grid_.rows) - 1) & ~(square_ - 1);
  }

  SKEIN_HD constexpr Extents extents() const noexcept { return extents_; }
  SKEIN_HD constexpr uint32_t side() const noexcept { return side_; }
  SKEIN_HD constexpr uint64_t tile_stride() const noexcept { return tile_stride_; }
  SKEIN_HD constexpr Extents grid() const noexcept { return grid_; }
  SKEIN_HD constexpr uint64_t required_span_size() const noexcept {
    return grid_.rows * grid_.cols * tile_stride_;
  }
  static constexpr bool is_unique() noexcept { return true; }
  static constexpr bool is_strided() noexcept { return false; }
  constexpr bool is_exhaustive() const noexcept {
    return required_span_size() == extents_.num_elems();
  }

  // How many tiles of the grid come before this one on the curve. Cost: a dozen operations for each
  // bit of the shorter side of the grid.
  //
  // A long grid is a strip of squares, each with its own curve: the squares before this one are
  // full across the shorter side. Then descend the quadtree of the square. In a node of side 2h,
  // whose corner is the tile's coordinate with the low bits cleared, a tile in the lower half has
  // the whole upper half before it: h rows (all of them exist, since a row below does) by the
  // node's cols, clipped to the grid. A tile in the right half has the left quadrant of its half
  // before it: h cols by the half's rows, clipped. `tile & h` is h or 0, which makes each "if" a
  // product.
  template <class Index>
  SKEIN_HD constexpr Index tile_rank(Index tile_row, Index tile_col) const noexcept {
    Index rank = grid_.rows < grid_.cols ? (tile_col & Index(strip_bits_)) * Index(grid_.rows)
                                         : (tile_row & Index(strip_bits_)) * Index(grid_.cols);
    uint64_t corner_bits = strip_bits_;
    for (uint64_t half = square_ / 2; half != 0; half /= 2) {
      const Index cols_left = Index(grid_.cols) - (tile_col & Index(corner_bits));
      rank = let("rank", rank + (tile_row & Index(half)) * min_of(cols_left, Index(2 * half)));
      corner_bits += half;
      const Index rows_left = Index(grid_.rows) - (tile_row & Index(corner_bits));
      rank = let("rank", rank + (tile_col & Index(half)) * min_of(rows_left, Index(half)));
    }
    return rank;
  }

  // Where the tile starts.
  template <class Index>
  SKEIN_HD constexpr Index tile_offset(Index tile_row, Index tile_col) const noexcept {
    return tile_rank(tile_row, tile_col) * Index(tile_stride_);
  }

  template <class Index>
  SKEIN_HD constexpr Index operator()(Index row, Index col) const noexcept {
    const Index side = Index(side_);
    const Index tile_row = let("tile_row", row / side);
    const Index tile_col = let("tile_col", col / side);
    return tile_offset(tile_row, tile_col) + row % side * side + col % side;
  }

 private:
  Extents extents_;
  Extents grid_;          // tiles
  uint32_t side_;         // T
  uint64_t tile_stride_;  // elements
  // The side of the smallest power-of-two square that spans the shorter side of the grid.
  uint64_t square_ = 1;
  // The bits that a coordinate along the longer side can have above square_ - 1.
  uint64_t strip_bits_ = 0;
};

}  // namespace skein
