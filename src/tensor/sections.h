// Sections: how a quantized matrix lies in one span: first the codes, then its scales.
//
//   codes    the elements of the matrix, placed by the tensor's mapping with 8 or 4 bits each. Of a
//            byte of 4-bit codes the low nibble is the element at the even offset.
//   gap      zeros up to the next multiple of kSectionAlignBytes from the start of the span
//   scales   one a block, placed by a mapping over rows x num_blocks(cols) * scale_words(dtype)
//            whose elements are scale_word_bytes(dtype) wide: word w of block b is col
//            b * scale_words + w; its layout follows from that of the codes
//
// Where the span starts at a multiple of 4 bytes, both sections do, which WGSL needs. Goals: a
// kernel finds the scales of the rows and blocks that it works on side by side. Non-goals: decoding
// (codec.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

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
//                        for each block of cols; of scales in words, R first words, R second ones,
//                        and so on
//   morton(T)            row_major: tiles are no whole blocks, and a scale is read once a block
// Without the alignment, which would double the bytes of short rows of scales.
constexpr Layout scale_layout(const Layout& layout, DType dtype) noexcept {
  switch (layout.kind) {
    case LayoutKind::kColMajor:
      return Layout::col_major();
    case LayoutKind::kInterleave:
    case LayoutKind::kTile: {
      const uint32_t blocks = layout.cols / block_cols(dtype);
      return Layout::interleave(layout.rows, (blocks == 0 ? 1 : blocks) * scale_words(dtype), 1);
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
                      {extents.rows, num_blocks(extents.cols, dtype) * scale_words(dtype)},
                      scale_word_bytes(dtype) * 8);
}

// The words of the scale of (row, block), in their section `scales` (const std::byte* or
// std::byte*): f(the word's place, its offset in the scale).
template <class Byte, class F>
void for_each_scale_word(Byte* scales, const AnyMapping& mapping, DType dtype, uint64_t row,
                         uint64_t block, F&& f) {
  const uint32_t words = scale_words(dtype), bytes = scale_word_bytes(dtype);
  for (uint32_t w = 0; w < words; ++w)
    f(scales + mapping(row, block * words + w) * bytes, w * bytes);
}

// The scale of (row, block), scale_bytes(dtype), from its section and to it.
inline void load_scale(const std::byte* scales, const AnyMapping& mapping, DType dtype,
                       uint64_t row, uint64_t block, std::byte* out) noexcept {
  for_each_scale_word(scales, mapping, dtype, row, block, [&](const std::byte* from, uint32_t at) {
    std::memcpy(out + at, from, scale_word_bytes(dtype));
  });
}
inline void store_scale(std::byte* scales, const AnyMapping& mapping, DType dtype, uint64_t row,
                        uint64_t block, const std::byte* scale) noexcept {
  for_each_scale_word(scales, mapping, dtype, row, block, [&](std::byte* to, uint32_t at) {
    std::memcpy(to, scale + at, scale_word_bytes(dtype));
  });
}

// From the start of the span; 0 for plain types.
inline uint64_t scales_offset_of(const AnyMapping& codes, DType dtype) noexcept {
  return is_quantized(dtype) ? round_up(codes.span_bytes(), kSectionAlignBytes) : 0;
}

}  // namespace skein
