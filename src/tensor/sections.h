// Sections: how a quantized matrix lies in one span: first the codes, then its scales.
//
//   codes    the elements of the matrix, placed by the tensor's mapping with 8 or 4 bits each. Of a
//            byte of 4-bit codes the low nibble is the element at the even offset.
//   gap      zeros up to the next multiple of kSectionAlignBytes from the start of the span
//   scales   one a block, placed by a mapping over rows x num_blocks(cols) whose elements are
//            scale_bytes(dtype) wide; its layout follows from that of the codes
//
// Where the span starts at a multiple of 4 bytes, both sections do, which WGSL needs. Goals: a
// kernel finds the scales of the rows and blocks that it works on side by side. Non-goals: decoding
// (codec.h).
#pragma once

#include <cstdint>

#include "base/bits.h"
#include "layout/any_mapping.h"
#include "tensor/codec.h"
#include "tensor/dtype.h"

namespace skein {

// The offset of the scales is a multiple of it: no cache line holds both, and GPUs bind buffers at
// such offsets.
inline constexpr uint64_t kSectionAlignBytes = 256;

// The order of the scales of a matrix whose codes lie in `layout`:
//   row_major            row_major: a row's scales side by side
//   col_major            col_major: the scales of all rows for one block of cols side by side
//   interleave(R,B,K)    interleave(R,max(1,B/block_cols),1), tile the same: R scales, one a row,
//                        for each block of cols
//   morton(T)            row_major: tiles are no whole blocks, and a scale is read once a block
// Without the alignment, which would double the bytes of short rows of scales.
constexpr Layout scale_layout(const Layout& layout, DType dtype) noexcept {
  switch (layout.kind) {
    case LayoutKind::kColMajor:
      return Layout::col_major();
    case LayoutKind::kInterleave:
    case LayoutKind::kTile: {
      const uint32_t blocks = layout.cols / block_cols(dtype);
      return Layout::interleave(layout.rows, blocks == 0 ? 1 : blocks, 1);
    }
    case LayoutKind::kRowMajor:
    case LayoutKind::kMorton:
      break;
  }
  return Layout::row_major();
}

// The mapping of the scales; of no matrix (0 x 0) for plain types. Fails where the scales would
// need 2^63 bytes or more.
inline Result<AnyMapping> make_scale_mapping(const AnyMapping& codes, DType dtype) {
  if (!is_quantized(dtype)) return AnyMapping();
  const Extents extents = codes.extents();
  if (extents.rows == 0) return AnyMapping();
  return make_mapping(scale_layout(codes.layout(), dtype),
                      {extents.rows, num_blocks(extents.cols, dtype)}, scale_bytes(dtype) * 8);
}

// From the start of the span; 0 for plain types.
inline uint64_t scales_offset_of(const AnyMapping& codes, DType dtype) noexcept {
  return is_quantized(dtype) ? round_up(codes.span_bytes(), kSectionAlignBytes) : 0;
}

}  // namespace skein
