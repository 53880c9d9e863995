// Quantized weights for tests, made by the scalar codec (tensor/codec.h) element by element: an
// oracle that shares nothing with the kernels that pack or multiply.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "layout/any_mapping.h"
#include "tensor/codec.h"
#include "tensor/sections.h"

namespace skein::testing {

// What an element of a block is beside code times factor: a minimum of int8 and of q4_k's runs.
inline float offset_in_block(DType dtype, const std::byte* scale, uint32_t col) {
  return dtype == DType::kInt8 || dtype == DType::kQ4K ? decode_in_block(dtype, scale, col, 0)
                                                       : 0.0f;
}

inline void store_code(std::byte* codes, DType dtype, uint64_t index, uint8_t code) {
  if (element_bits(dtype) == 8) {
    codes[index] = std::byte{code};
    return;
  }
  std::byte& byte = codes[index / 2];
  byte = index % 2 == 0 ? (byte & std::byte{0xf0}) | std::byte{code}
                        : (byte & std::byte{0x0f}) | std::byte(code << 4);
}

using BlockScale = std::array<std::byte, 16>;

// Writes one block, `values` of row `row` from col `first_col` on (a multiple of block_cols), to
// the span at `span`, and replaces `values` by what they decode to.
inline BlockScale store_block(std::byte* span, const AnyMapping& mapping, DType dtype, uint64_t row,
                              uint64_t first_col, std::span<float> values) {
  CHECK(is_quantized(dtype) && first_col % block_cols(dtype) == 0);
  BlockScale scale{};
  std::array<uint8_t, 256> codes{};
  CHECK(encode_block(dtype, values, codes.data(), scale.data()));
  const AnyMapping scales = make_scale_mapping(mapping, dtype).value();
  store_scale(span + scales_offset_of(mapping, dtype), scales, dtype, row,
              first_col / block_cols(dtype), scale.data());
  for (uint32_t i = 0; i < values.size(); ++i) {
    store_code(span, dtype, mapping(row, first_col + i), codes[i]);
    values[i] = decode_in_block(dtype, scale.data(), i, codes[i]);
  }
  return scale;
}

}  // namespace skein::testing
