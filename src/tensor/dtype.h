// DType: how one weight or activation is stored. A layout says where an element lies, a DType what
// it is.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/bits.h"
#include "base/result.h"

namespace skein {

// Plain types hold one number an element. Block codecs (codec.h) hold codes, and one scale for
// each block of block_cols() neighbours in a row; the scales lie in a section of their own
// (sections.h), so `element_bits` stays the only thing that a layout needs to know. The last three
// are ggml's: its values, bit for bit, in our order.
enum class DType : uint8_t { kF32, kF16, kBF16, kInt8, kNF4, kSF4, kQ8_0, kQ4_0, kQ4K };

// The plain types, the block codecs, and both in the order of the enum.
inline constexpr std::array<DType, 3> kDTypes = {DType::kF32, DType::kF16, DType::kBF16};
inline constexpr std::array<DType, 6> kQuantDTypes = {DType::kInt8, DType::kNF4,  DType::kSF4,
                                                      DType::kQ8_0, DType::kQ4_0, DType::kQ4K};
inline constexpr std::array<DType, 9> kAllDTypes = {DType::kF32,  DType::kF16,  DType::kBF16,
                                                    DType::kInt8, DType::kNF4,  DType::kSF4,
                                                    DType::kQ8_0, DType::kQ4_0, DType::kQ4K};

// What an embedding may be, which is never encoded: a file's own types.
inline constexpr std::array<DType, 6> kEmbeddingDTypes = {DType::kF32,  DType::kF16,  DType::kBF16,
                                                          DType::kQ8_0, DType::kQ4_0, DType::kQ4K};

constexpr bool is_quantized(DType dtype) noexcept { return dtype >= DType::kInt8; }

// ggml's codecs, in which a file's matrices may stay.
constexpr bool is_ggml_codec(DType dtype) noexcept { return dtype >= DType::kQ8_0; }

// Of one element: a number or a code.
constexpr uint32_t element_bits(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF32:
      return 32;
    case DType::kF16:
    case DType::kBF16:
      return 16;
    case DType::kInt8:
    case DType::kQ8_0:
      return 8;
    case DType::kNF4:
    case DType::kSF4:
    case DType::kQ4_0:
    case DType::kQ4K:
      return 4;
  }
  return 0;
}

// Cols of one row that share a scale; 1 for plain types. The last block of a row may be shorter.
constexpr uint32_t block_cols(DType dtype) noexcept {
  switch (dtype) {
    case DType::kInt8:
      return 128;
    case DType::kNF4:
    case DType::kSF4:
      return 64;
    case DType::kQ8_0:
    case DType::kQ4_0:
      return 32;
    case DType::kQ4K:
      return 256;
    default:
      return 1;
  }
}

// Cols of one row that meet one factor: of q4_k a run, eight of which share a scale, of the others
// a block.
constexpr uint32_t step_cols(DType dtype) noexcept {
  return dtype == DType::kQ4K ? 32 : block_cols(dtype);
}

// Bytes of one block's scale: int8 has an f16 minimum and maximum, q4_k two f16 and eight pairs of
// 6 bits, the others an f16. 0 for plain types.
constexpr uint32_t scale_bytes(DType dtype) noexcept {
  switch (dtype) {
    case DType::kInt8:
      return 4;
    case DType::kNF4:
    case DType::kSF4:
    case DType::kQ8_0:
    case DType::kQ4_0:
      return 2;
    case DType::kQ4K:
      return 16;
    default:
      return 0;
  }
}

// A scale lies in so many words of equal width, each a vector's lane: neighbouring rows have their
// first words side by side where the layout has their codes so, then their second ones. At least 1.
constexpr uint32_t scale_words(DType dtype) noexcept { return dtype == DType::kQ4K ? 4 : 1; }

// 0 for plain types.
constexpr uint32_t scale_word_bytes(DType dtype) noexcept {
  return scale_bytes(dtype) / scale_words(dtype);
}

// Blocks in a row of `cols`, the short one included; cols for plain types.
constexpr uint64_t num_blocks(uint64_t cols, DType dtype) noexcept {
  return ceil_div<uint64_t>(cols, block_cols(dtype));
}

constexpr std::string_view to_string(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
    case DType::kInt8:
      return "int8";
    case DType::kNF4:
      return "nf4";
    case DType::kSF4:
      return "sf4";
    case DType::kQ8_0:
      return "q8_0";
    case DType::kQ4_0:
      return "q4_0";
    case DType::kQ4K:
      return "q4_k";
  }
  return "?";
}

inline Result<DType> parse_dtype(std::string_view text) {
  for (DType dtype : kAllDTypes) {
    if (text == to_string(dtype)) return dtype;
  }
  return error("dtype: expected f32, f16, bf16, int8, nf4, sf4, q8_0, q4_0 or q4_k, found '{}'",
               text);
}

}  // namespace skein
