// The pieces and panels that pack() works in: rectangles of a layout that look alike from close by.
// Inside tensor/ only.
//
// A Panel is a rectangle of a layout in which chunks of `chunk` cols of each row lie side by side,
// and both rows and chunks have constant strides:
//   row_major    one panel, one chunk that is the whole row
//   col_major    one panel, chunks of one col
//   interleave   a panel for each row group, or each block where blocks have gaps
//   morton       a panel for each tile
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/bits.h"
#include "base/thread_pool.h"
#include "layout/mapping.h"
#include "tensor/pack_kernels.h"

namespace skein {

// The piece of one load, convert and store. Where a layout has cols side by side it is 64 rows
// high, so that the run of a col is two whole cache lines of 2-byte elements; elsewhere lower and
// wider. A scratch is 16 KiB of 2-byte elements, which the first-level cache holds, or 32 KiB.
//
// Measured with 8192 x 8192 f16 on one thread of a Zen 5 VM, 2026-11-23, CPU ms (memcpy: 8):
// pieces of 4096 elements 26 to interleave(32,64,1), of 8192 15. For col_major, where all sides are
// a power of two apart, higher pieces (128 or 256 rows) and non-temporal stores changed nothing.
inline constexpr uint64_t kPieceDim = 64;
inline constexpr uint64_t kPieceElems = 2 * kPieceDim * kPieceDim;
inline constexpr uint64_t kMaxElemBytes = 4;
inline constexpr uint64_t kScratchBytes = kPieceElems * kMaxElemBytes;

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
inline void copy_transposed(const std::byte* cols_data, uint64_t col_bytes, std::byte* rows_data,
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

inline void copy_transposed(std::byte* cols_data, uint64_t col_bytes, const std::byte* rows_data,
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
  // A chunk of 1, 2 or 4 bytes moves like one element; the R rows of interleave(R,B,K) are a
  // transpose.
  const uint64_t chunk_bytes = panel.chunk * elem_bytes;
  const bool whole_chunks = panel.skip_cols == 0 && num_cols % panel.chunk == 0;
  if (panel.row_stride == panel.chunk && chunk_bytes <= kMaxElemBytes && chunk_bytes != 3 &&
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
inline uint64_t piece_height(const RowMajor&) { return 1; }
inline uint64_t piece_height(const ColMajor&) { return kPieceDim; }
inline uint64_t piece_height(const Interleave& mapping) {
  return std::min<uint64_t>(kPieceDim, mapping.block_rows());
}
inline uint64_t piece_height(const Morton& mapping) {
  return std::min<uint64_t>(kPieceDim, mapping.side());
}

}  // namespace skein
