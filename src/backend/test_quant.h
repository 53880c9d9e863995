// Quantized weights for tests, made by the scalar codec (tensor/codec.h) element by element: an
// oracle that shares nothing with the kernels that pack or multiply.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "base/check.h"
#include "layout/any_mapping.h"
#include "tensor/codec.h"
#include "tensor/sections.h"

namespace skein::testing {

// What a block became.
struct StoredBlock {
  Int8Scale int8;
  AbsmaxScale absmax;
};

inline void store_code(std::byte* codes, DType dtype, uint64_t index, uint8_t code) {
  if (element_bits(dtype) == 8) {
    codes[index] = std::byte{code};
    return;
  }
  std::byte& byte = codes[index / 2];
  byte = index % 2 == 0 ? (byte & std::byte{0xf0}) | std::byte{code}
                        : (byte & std::byte{0x0f}) | std::byte(code << 4);
}

// Writes one block, `values` of row `row` from col `first_col` on (a multiple of block_cols), to
// the span at `span`, and replaces `values` by what they decode to.
inline StoredBlock store_block(std::byte* span, const AnyMapping& mapping, DType dtype,
                               uint64_t row, uint64_t first_col, std::span<float> values) {
  CHECK(is_quantized(dtype) && first_col % block_cols(dtype) == 0);
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  const StoredBlock block = {int8_scale(*min, *max),
                             {f16_from(std::max(std::fabs(*min), std::fabs(*max)))}};
  const AnyMapping scales = make_scale_mapping(mapping, dtype).value();
  std::byte* scale = span + scales_offset_of(mapping, dtype) +
                     scales(row, first_col / block_cols(dtype)) * scale_bytes(dtype);
  for (uint64_t i = 0; i < values.size(); ++i) {
    const uint8_t code = dtype == DType::kInt8 ? encode(block.int8, values[i])
                                               : encode(dtype, block.absmax, values[i]);
    store_code(span, dtype, mapping(row, first_col + i), code);
    values[i] =
        dtype == DType::kInt8 ? decode(block.int8, code) : decode(dtype, block.absmax, code);
  }
  if (dtype == DType::kInt8) {
    std::memcpy(scale, &block.int8, sizeof(block.int8));
  } else {
    std::memcpy(scale, &block.absmax, sizeof(block.absmax));
  }
  return block;
}

}  // namespace skein::testing
