// pack() in three steps for one piece of the matrix at a time, each step in the first-level cache:
// load from the source's layout into row order, convert, store into the destination's layout. A
// step that has nothing to do is skipped: row-ordered sources are read in place, row-ordered
// destinations written in place. So n layouts and m dtypes need n loads, n stores and m * m
// conversions, and every pair runs at about the speed of memory.
//
// All layouts look alike from close by. A Panel is a rectangle of a layout in which chunks of
// `chunk` cols of each row lie side by side, and both rows and chunks have constant strides:
//   row_major    one panel, one chunk that is the whole row
//   col_major    one panel, chunks of one col
//   interleave   a panel for each row group, or each block where blocks have gaps
//   morton       a panel for each tile
#include "tensor/pack.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/bits.h"
#include "base/check.h"
#include "tensor/pack_kernels.h"

namespace skein {
namespace {

// The piece of one load, convert and store. Where a layout has cols side by side it is 64 rows
// high, so that the run of a col is two whole cache lines of 2-byte elements; elsewhere lower and
// wider. A scratch is 16 KiB of 2-byte elements, which the first-level cache holds, or 32 KiB.
//
// Measured with 8192 x 8192 f16 on one thread of a Zen 5 VM, 2026-11-23, CPU ms (memcpy: 8):
// pieces of 4096 elements 26 to interleave(32,64,1), of 8192 15. For col_major, where all sides are
// a power of two apart, higher pieces (128 or 256 rows) and non-temporal stores changed nothing.
constexpr uint64_t kPieceDim = 64;
constexpr uint64_t kPieceElems = 2 * kPieceDim * kPieceDim;
constexpr uint64_t kMaxElemBytes = 4;
constexpr uint64_t kScratchBytes = kPieceElems * kMaxElemBytes;

struct Rect {
  Range rows;
  Range cols;
};

struct Panel {
  Rect rect;              // in the matrix
  uint64_t offset_elems;  // of the chunk that holds the first element; that chunk's first col ...
  uint64_t skip_cols;     // ... is this many before the rect's
  uint64_t row_stride;    // elements from one row to the next
  uint64_t chunk;         // cols of a row side by side
  uint64_t chunk_stride;  // elements from one chunk of a row to its next
};

// Calls f with the panels that cover `rect`.
template <class F>
void for_each_panel(const RowMajor& mapping, const Rect& rect, F&& f) {
  f(Panel{rect, mapping(rect.rows.begin, rect.cols.begin), 0, mapping.row_stride(),
          rect.cols.length(), 0});
}

template <class F>
void for_each_panel(const ColMajor& mapping, const Rect& rect, F&& f) {
  f(Panel{rect, mapping(rect.rows.begin, rect.cols.begin), 0, 1, 1, mapping.col_stride()});
}

// The part of `range` up to the next multiple of `step`.
constexpr Range head_of(Range range, uint64_t step) {
  return {range.begin, std::min(range.end, (range.begin / step + 1) * step)};
}

template <class F>
void for_each_panel(const Interleave& mapping, const Rect& rect, F&& f) {
  const uint64_t block_rows = mapping.block_rows();
  const uint64_t block_cols = mapping.block_cols();
  // One row's chunks are neighbours: a block is one run.
  const uint64_t chunk = block_rows == 1 ? block_cols : mapping.chunk_cols();
  const bool has_gaps = mapping.block_stride() != block_rows * block_cols;
  for (Range rows = rect.rows; !rows.empty(); rows.begin = head_of(rows, block_rows).end) {
    for (Range cols = rect.cols; !cols.empty();) {
      const Range width = has_gaps ? head_of(cols, block_cols) : cols;
      const uint64_t skip = cols.begin % chunk;
      f(Panel{{head_of(rows, block_rows), width},
              mapping(rows.begin, cols.begin - skip),
              skip,
              chunk,
              chunk,
              block_rows * chunk});
      cols.begin = width.end;
    }
  }
}

template <class F>
void for_each_panel(const Morton& mapping, const Rect& rect, F&& f) {
  const uint64_t side = mapping.side();
  for (Range rows = rect.rows; !rows.empty(); rows.begin = head_of(rows, side).end) {
    for (Range cols = rect.cols; !cols.empty(); cols.begin = head_of(cols, side).end) {
      const Range width = head_of(cols, side);
      f(Panel{{head_of(rows, side), width},
              mapping(rows.begin, cols.begin),
              0,
              side,
              width.length(),
              0});
    }
  }
}

// A rectangle in row order: row r of it starts at data + r * stride_bytes.
template <class Byte>
struct RowOrder {
  Byte* data;
  uint64_t stride_bytes;
};
using ConstRows = RowOrder<const std::byte>;
using Rows = RowOrder<std::byte>;

enum PrefetchIntent { kForReading = 0, kForWriting = 1 };

// Asks for `count` runs of run_bytes, stride_bytes apart. The address may lie outside of
// everything: then the request has no effect.
template <PrefetchIntent kIntent>
void prefetch_runs(uintptr_t address, uint64_t stride_bytes, uint64_t count, uint64_t run_bytes) {
  for (uint64_t i = 0; i < count; ++i) {
    for (uint64_t byte = 0; byte < run_bytes; byte += 64) {
      __builtin_prefetch(reinterpret_cast<const void*>(address + i * stride_bytes + byte), kIntent,
                         2);
    }
  }
}

// Copies cols (col j at cols_data + j * col_bytes, its rows side by side) to rows, or back.
//
// Cols that are far apart go through a dense scratch. Block by block, a transpose touches the same
// line of each col several times, and cols a power of two apart share one set of the cache, which
// loses the lines in between; whole runs are moved once. The cols of the next piece are asked for
// early, as no prefetcher of the machine follows 64 short runs. From row_major to col_major,
// measured as above: 66 ms without either, 32 with the scratch, 27 with both; back: 69, 32, 25.
void copy_transposed(const std::byte* cols_data, uint64_t col_bytes, std::byte* rows_data,
                     uint64_t row_bytes, uint64_t num_rows, uint64_t num_cols,
                     uint32_t elem_bytes) {
  const uint64_t run_bytes = num_rows * elem_bytes;
  if (col_bytes == run_bytes) {
    transpose(cols_data, col_bytes, rows_data, row_bytes, num_cols, num_rows, elem_bytes);
    return;
  }
  alignas(64) std::byte scratch[kScratchBytes];
  prefetch_runs<kForReading>(reinterpret_cast<uintptr_t>(cols_data) + num_cols * col_bytes,
                             col_bytes, num_cols, run_bytes);
  copy_grid(cols_data, {col_bytes, 0}, scratch, {run_bytes, 0}, num_cols, 1, run_bytes);
  transpose(scratch, run_bytes, rows_data, row_bytes, num_cols, num_rows, elem_bytes);
}

void copy_transposed(std::byte* cols_data, uint64_t col_bytes, const std::byte* rows_data,
                     uint64_t row_bytes, uint64_t num_rows, uint64_t num_cols,
                     uint32_t elem_bytes) {
  const uint64_t run_bytes = num_rows * elem_bytes;
  if (col_bytes == run_bytes) {
    transpose(rows_data, row_bytes, cols_data, col_bytes, num_rows, num_cols, elem_bytes);
    return;
  }
  alignas(64) std::byte scratch[kScratchBytes];
  prefetch_runs<kForWriting>(reinterpret_cast<uintptr_t>(cols_data) + num_cols * col_bytes,
                             col_bytes, num_cols, run_bytes);
  transpose(rows_data, row_bytes, scratch, run_bytes, num_rows, num_cols, elem_bytes);
  copy_grid(scratch, {run_bytes, 0}, cols_data, {col_bytes, 0}, num_cols, 1, run_bytes);
}

// Copies a panel of the matrix at `memory` to rows (Byte is const) or back; `rows` holds `rect`.
template <class Byte>
void copy_panel(
    const Panel& panel, Byte* memory, const Rect& rect,
    RowOrder<std::conditional_t<std::is_const_v<Byte>, std::byte, const std::byte>> rows,
    uint32_t elem_bytes) {
  const uint64_t num_rows = panel.rect.rows.length();
  const uint64_t num_cols = panel.rect.cols.length();
  auto* row_data = rows.data + (panel.rect.rows.begin - rect.rows.begin) * rows.stride_bytes +
                   (panel.rect.cols.begin - rect.cols.begin) * elem_bytes;
  // A chunk of 2 or 4 bytes moves like one element; the R rows of interleave(R,B,K) are a
  // transpose.
  const uint64_t chunk_bytes = panel.chunk * elem_bytes;
  const bool whole_chunks = panel.skip_cols == 0 && num_cols % panel.chunk == 0;
  if (panel.row_stride == panel.chunk && chunk_bytes <= kMaxElemBytes && chunk_bytes % 2 == 0 &&
      whole_chunks) {
    copy_transposed(memory + panel.offset_elems * elem_bytes, panel.chunk_stride * elem_bytes,
                    row_data, rows.stride_bytes, num_rows, num_cols / panel.chunk,
                    static_cast<uint32_t>(chunk_bytes));
    return;
  }
  // The rest of a chunk that began before the panel, whole chunks, the start of one.
  for (uint64_t col = 0; col < num_cols;) {
    const uint64_t place = panel.skip_cols + col;
    const uint64_t run = std::min(panel.chunk - place % panel.chunk, num_cols - col);
    const uint64_t chunks = run == panel.chunk ? (num_cols - col) / run : 1;
    auto* at =
        memory + elem_bytes * (panel.offset_elems + place / panel.chunk * panel.chunk_stride +
                               place % panel.chunk);
    auto* row_at = row_data + col * elem_bytes;
    const GridStrides strides = {panel.row_stride * elem_bytes, panel.chunk_stride * elem_bytes};
    const GridStrides row_strides = {rows.stride_bytes, panel.chunk * elem_bytes};
    if constexpr (std::is_const_v<Byte>) {
      copy_grid(at, strides, row_at, row_strides, num_rows, chunks, run * elem_bytes);
    } else {
      copy_grid(row_at, row_strides, at, strides, num_rows, chunks, run * elem_bytes);
    }
    col += chunks * run;
  }
}

// The rows of a panel, as far as a piece can hold them.
uint64_t piece_height(const RowMajor&) { return 1; }
uint64_t piece_height(const ColMajor&) { return kPieceDim; }
uint64_t piece_height(const Interleave& mapping) {
  return std::min<uint64_t>(kPieceDim, mapping.block_rows());
}
uint64_t piece_height(const Morton& mapping) {
  return std::min<uint64_t>(kPieceDim, mapping.side());
}

// The copying of one pack(), with typed mappings.
template <class SrcMapping, class DstMapping>
class Packer {
 public:
  Packer(const ConstHostMatrix& src, const SrcMapping& src_mapping, const HostMatrix& dst,
         const DstMapping& dst_mapping)
      : src_(src.data),
        dst_(dst.data),
        src_dtype_(src.dtype),
        dst_dtype_(dst.dtype),
        src_mapping_(src_mapping),
        dst_mapping_(dst_mapping) {}

  // The elements of `rect`, of any size.
  void copy(const Rect& rect) const {
    const Extents piece = piece_extents(rect);
    for (Range rows = rect.rows; !rows.empty(); rows.begin = head_of(rows, piece.rows).end) {
      for (Range cols = rect.cols; !cols.empty(); cols.begin = head_of(cols, piece.cols).end) {
        copy_piece({head_of(rows, piece.rows), head_of(cols, piece.cols)});
      }
    }
  }

 private:
  static constexpr bool kSrcInRows = std::is_same_v<SrcMapping, RowMajor>;
  static constexpr bool kDstInRows = std::is_same_v<DstMapping, RowMajor>;
  static constexpr bool kDstInCols = std::is_same_v<DstMapping, ColMajor>;

  // As wide as the layouts allow, since the longer the runs of a row are, the better the memory's
  // prefetchers follow. Rows to rows needs no scratch: any length goes.
  Extents piece_extents(const Rect& rect) const {
    if (kSrcInRows && kDstInRows) return {1, rect.cols.length()};
    const bool has_cols = std::is_same_v<SrcMapping, ColMajor> || kDstInCols;
    const uint64_t height = has_cols     ? kPieceDim
                            : kDstInRows ? piece_height(src_mapping_)
                                         : piece_height(dst_mapping_);
    return {height, kPieceElems / height / kPieceDim * kPieceDim};
  }

  void copy_piece(const Rect& rect) const {
    alignas(64) std::byte loaded[kScratchBytes];
    alignas(64) std::byte converted[kScratchBytes];
    const uint32_t src_bytes = element_bits(src_dtype_) / 8;
    const uint32_t dst_bytes = element_bits(dst_dtype_) / 8;
    const bool converts = src_dtype_ != dst_dtype_;

    Rows target = {converted, rect.cols.length() * dst_bytes};
    if constexpr (kDstInRows) {
      target = {dst_ + dst_mapping_(rect.rows.begin, rect.cols.begin) * dst_bytes,
                dst_mapping_.row_stride() * dst_bytes};
    }
    ConstRows source = {};
    if constexpr (kSrcInRows) {
      source = {src_ + src_mapping_(rect.rows.begin, rect.cols.begin) * src_bytes,
                src_mapping_.row_stride() * src_bytes};
      if (kDstInCols) {
        prefetch_runs<kForReading>(
            reinterpret_cast<uintptr_t>(source.data) + rect.cols.length() * src_bytes,
            source.stride_bytes, rect.rows.length(), rect.cols.length() * src_bytes);
      }
    } else {
      const Rows load_to = converts ? Rows{loaded, rect.cols.length() * src_bytes} : target;
      for_each_panel(src_mapping_, rect, [&](const Panel& panel) {
        copy_panel(panel, src_, rect, load_to, src_bytes);
      });
      source = {load_to.data, load_to.stride_bytes};
    }
    if (converts) {
      for (uint64_t row = 0; row < rect.rows.length(); ++row) {
        convert_run(source.data + row * source.stride_bytes, src_dtype_,
                    target.data + row * target.stride_bytes, dst_dtype_, rect.cols.length());
      }
      source = {target.data, target.stride_bytes};
    }
    if constexpr (kDstInRows) {
      if (kSrcInRows && !converts) {
        for (uint64_t row = 0; row < rect.rows.length(); ++row) {
          std::memcpy(target.data + row * target.stride_bytes,
                      source.data + row * source.stride_bytes, rect.cols.length() * dst_bytes);
        }
      }
    } else {
      for_each_panel(dst_mapping_, rect,
                     [&](const Panel& panel) { copy_panel(panel, dst_, rect, source, dst_bytes); });
    }
  }

  const std::byte* src_;
  std::byte* dst_;
  DType src_dtype_;
  DType dst_dtype_;
  SrcMapping src_mapping_;
  DstMapping dst_mapping_;
};

// A unit is what one thread packs alone, padding included: whole blocks, up to 512 KiB of 2-byte
// elements, which take tens of microseconds. More cols than rows, since a mapped file has small
// pages: a few rows at a time miss the page table less often than many.
constexpr uint64_t kUnitRows = 64;
constexpr uint64_t kUnitCols = 4096;

Extents unit_of(const RowMajor& mapping) { return {kUnitRows, mapping.extents().cols}; }
Extents unit_of(const ColMajor&) { return {kUnitRows, kUnitCols}; }
Extents unit_of(const Interleave& mapping) {
  return {round_up<uint64_t>(kUnitRows, mapping.block_rows()),
          round_up<uint64_t>(kUnitCols, mapping.block_cols())};
}
Extents unit_of(const Morton& mapping) {
  return {round_up<uint64_t>(kUnitRows, mapping.side()),
          round_up<uint64_t>(kUnitCols, mapping.side())};
}

void zero(std::byte* data, Range elems, uint32_t elem_bytes) {
  std::memset(data + elems.begin * elem_bytes, 0, elems.length() * elem_bytes);
}

// Zeroes the padding that belongs to the unit `rect`; before its elements are written, since of a
// block at the edge everything is zeroed.
void zero_padding(const RowMajor& mapping, const Rect& rect, std::byte* data, uint32_t elem_bytes) {
  const uint64_t cols = mapping.extents().cols;
  for (uint64_t row = rect.rows.begin; row < rect.rows.end; ++row) {
    const uint64_t start = row * mapping.row_stride();
    zero(data, {start + cols, start + mapping.row_stride()}, elem_bytes);
  }
}

void zero_padding(const ColMajor& mapping, const Rect& rect, std::byte* data, uint32_t elem_bytes) {
  const uint64_t rows = mapping.extents().rows;
  if (rect.rows.end != rows) return;
  for (uint64_t col = rect.cols.begin; col < rect.cols.end; ++col) {
    const uint64_t start = col * mapping.col_stride();
    zero(data, {start + rows, start + mapping.col_stride()}, elem_bytes);
  }
}

// A block or tile of `block` elements at `start`, the next one `stride` elements behind it.
void zero_block(Extents block, bool at_edge, uint64_t start, uint64_t stride, std::byte* data,
                uint32_t elem_bytes) {
  zero(data, {at_edge ? start : start + block.num_elems(), start + stride}, elem_bytes);
}

template <class Mapping>
void zero_block_padding(const Mapping& mapping, Extents block, uint64_t stride, const Rect& rect,
                        std::byte* data, uint32_t elem_bytes) {
  if (mapping.is_exhaustive()) return;
  const Extents extents = mapping.extents();
  for (uint64_t row = rect.rows.begin; row < rect.rows.end; row += block.rows) {
    for (uint64_t col = rect.cols.begin; col < rect.cols.end; col += block.cols) {
      const bool at_edge = row + block.rows > extents.rows || col + block.cols > extents.cols;
      zero_block(block, at_edge, mapping(row, col), stride, data, elem_bytes);
    }
  }
}

void zero_padding(const Interleave& mapping, const Rect& rect, std::byte* data,
                  uint32_t elem_bytes) {
  zero_block_padding(mapping, {mapping.block_rows(), mapping.block_cols()}, mapping.block_stride(),
                     rect, data, elem_bytes);
}

void zero_padding(const Morton& mapping, const Rect& rect, std::byte* data, uint32_t elem_bytes) {
  zero_block_padding(mapping, {mapping.side(), mapping.side()}, mapping.tile_stride(), rect, data,
                     elem_bytes);
}

template <class SrcMapping, class DstMapping>
void pack_typed(const Packer<SrcMapping, DstMapping>& packer, const DstMapping& mapping,
                const HostMatrix& dst, ThreadPool& pool) {
  const Extents extents = mapping.extents();
  const Extents unit = unit_of(mapping);
  const uint64_t units_across = ceil_div(extents.cols, unit.cols);
  const uint64_t num_units = ceil_div(extents.rows, unit.rows) * units_across;
  const uint32_t elem_bytes = element_bits(dst.dtype) / 8;
  pool.run([&](uint32_t thread) {
    const Range share = share_of(num_units, 1, thread, pool.num_threads());
    for (uint64_t i = share.begin; i < share.end; ++i) {
      const uint64_t row = i / units_across * unit.rows;
      const uint64_t col = i % units_across * unit.cols;
      const Rect rect = {{row, std::min(row + unit.rows, extents.rows)},
                         {col, std::min(col + unit.cols, extents.cols)}};
      zero_padding(mapping, rect, dst.data, elem_bytes);
      packer.copy(rect);
    }
  });
}

}  // namespace

void pack(const ConstHostMatrix& src, const HostMatrix& dst, ThreadPool& pool) noexcept {
  CHECK(src.mapping.extents() == dst.mapping.extents());
  CHECK(src.mapping.element_bits() == element_bits(src.dtype));
  CHECK(dst.mapping.element_bits() == element_bits(dst.dtype));
  if (dst.mapping.required_span_size() == 0) return;  // the mapping of no matrix
  src.mapping.visit([&](const auto& src_mapping) {
    dst.mapping.visit([&](const auto& dst_mapping) {
      pack_typed(Packer(src, src_mapping, dst, dst_mapping), dst_mapping, dst, pool);
    });
  });
}

}  // namespace skein
