// The codecs of codec.h, a row at a time, compiled for several instruction sets and chosen at run
// time: bit for bit the scalar definitions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace skein {

inline constexpr uint64_t kNoBlock = ~uint64_t{0};

// Codes (one a byte, for 4-bit codecs too) and scales (scale_bytes(dtype) each, one behind the
// other) of `cols` neighbours that start with a block. Returns the index of the first block that is
// refused (codec.h) or kNoBlock.
uint64_t quantize_run(const float* values, uint64_t cols, DType dtype, uint8_t* codes,
                      std::byte* scales) noexcept;

// The reverse.
void dequantize_run(const uint8_t* codes, const std::byte* scales, uint64_t cols, DType dtype,
                    float* values) noexcept;

}  // namespace skein
