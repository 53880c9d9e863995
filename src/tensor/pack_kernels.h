// The inner loops of pack(): copies, transposes and conversions of pieces that fit the first-level
// cache, compiled for several instruction sets and chosen at run time.
//
// All pointers may be misaligned. Strides are in bytes. Sources and destinations do not overlap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace skein {

// dst[i] = src[i] in another dtype, for i < num_elems; from != to. Bit for bit the conversions of
// base/float16.h.
void convert_run(const std::byte* src, DType from, std::byte* dst, DType to,
                 uint64_t num_elems) noexcept;

// dst[j][i] = src[i][j] for i < rows, j < cols: element (i, j) of src lies i * src_stride + j *
// elem_bytes bytes from its start, element (j, i) of dst j * dst_stride + i * elem_bytes.
// elem_bytes is 1, 2 or 4.
void transpose(const std::byte* src, uint64_t src_stride, std::byte* dst, uint64_t dst_stride,
               uint64_t rows, uint64_t cols, uint32_t elem_bytes) noexcept;

// Where the runs of a grid lie: run (i, j) starts i * row + j * chunk bytes from the start.
struct GridStrides {
  uint64_t row;
  uint64_t chunk;
};

// Copies a grid of rows x chunks runs of run_bytes each.
void copy_grid(const std::byte* src, GridStrides src_strides, std::byte* dst,
               GridStrides dst_strides, uint64_t rows, uint64_t chunks,
               uint64_t run_bytes) noexcept;

}  // namespace skein
