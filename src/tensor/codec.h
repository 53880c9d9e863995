// The block codecs int8, nf4 and sf4, and all of them as one: what a code means, an element or a
// block at a time.
//
// Goals: the one definition, which every kernel is tested against; of the three the same as
// web-rwkv's, so that results compare; ggml's are in ggml_codec.h. Non-goals: speed
// (quant_kernels.h does rows), and where codes and scales lie (sections.h).
//
// A block is block_cols(dtype) neighbours of one row, fewer at the end of a row. All arithmetic is
// f32, each operation rounded by itself (no fused multiply-add), in the order written here.
//
//   int8  min, max: those of the block, rounded to f16 (nearest, ties to even);
//         q = floor(0.5 + 255 * clamp((w - min) / (max - min), 0, 1)), with the rounded min and max
//         and ties upwards, as WGSL's pack4x8unorm; q = 0 where max == min;
//         w' = min + q / 255 * (max - min), so that a constant block is min
//   nf4   absmax: that of the block, rounded to f16; q = the code nearest to w / absmax, of two
//   sf4   equally near ones the smaller; where absmax is 0 (a block of zeros, or of values that f16
//         cannot tell from 0) the code of 0; w' = code[q] * absmax
//
// A block with a value that is NaN or does not fit into f16 (an absolute value of 65520 and up,
// infinities too) has no scale: encoders refuse it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/float16.h"
#include "tensor/dtype.h"
#include "tensor/ggml_codec.h"

namespace skein {

struct Int8Scale {
  F16 min;
  F16 max;
  friend constexpr bool operator==(Int8Scale, Int8Scale) = default;
};
static_assert(sizeof(Int8Scale) == scale_bytes(DType::kInt8));

// Of nf4 and sf4.
struct AbsmaxScale {
  F16 absmax;
  friend constexpr bool operator==(AbsmaxScale, AbsmaxScale) = default;
};
static_assert(sizeof(AbsmaxScale) == scale_bytes(DType::kNF4));
static_assert(sizeof(AbsmaxScale) == scale_bytes(DType::kSF4));

using CodeTable = std::array<float, 16>;

// Quantiles of the normal distribution as QLoRA (Dettmers et al., 2023) publishes them.
inline constexpr CodeTable kNF4Codes = {-1.0f,
                                        -0.6961928009986877f,
                                        -0.5250730514526367f,
                                        -0.39491748809814453f,
                                        -0.28444138169288635f,
                                        -0.18477343022823334f,
                                        -0.09105003625154495f,
                                        0.0f,
                                        0.07958029955625534f,
                                        0.16093020141124725f,
                                        0.24611230194568634f,
                                        0.33791524171829224f,
                                        0.44070982933044434f,
                                        0.5626170039176941f,
                                        0.7229568362236023f,
                                        1.0f};

// The same with Student's t distribution of 5 degrees of freedom: its quantiles at 8 evenly spaced
// probabilities from delta to 1/2 and 9 from 1/2 to 1 - delta, delta = (1/32 + 1/30) / 2, divided
// by the largest. With u = atan(t / sqrt(5)) the distribution is
//   F(t) = 1/2 + (u + sin u cos u + 2/3 sin u cos^3 u) / pi,
// which codec_test.cc solves again.
inline constexpr CodeTable kSF4Codes = {-1.0f,
                                        -0.6277805503508727f,
                                        -0.4547359885777996f,
                                        -0.33433074446366495f,
                                        -0.23743437928669595f,
                                        -0.15289870738030045f,
                                        -0.07498246444991406f,
                                        0.0f,
                                        0.06551307325066232f,
                                        0.13296472656153263f,
                                        0.20466101813959572f,
                                        0.2838347031321646f,
                                        0.37580483741149795f,
                                        0.4910755704320666f,
                                        0.656781145546491f,
                                        1.0f};

// What the codes of q4_0 and q4_k are before a factor.
inline constexpr CodeTable kQ4_0Codes = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
inline constexpr CodeTable kQ4KCodes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// The code of 0 in the tables of nf4 and sf4.
inline constexpr uint8_t kZeroCode4 = 7;
static_assert(kNF4Codes[kZeroCode4] == 0 && kSF4Codes[kZeroCode4] == 0);

// What a padding element holds; padding scales are zero, so that it decodes to 0 in a block that is
// all padding. In a block that is only partly padding code 0 of int8 and q4_k is a minimum: a
// kernel must not let it meet an input other than zero.
constexpr uint8_t padding_code(DType dtype) noexcept {
  switch (dtype) {
    case DType::kNF4:
    case DType::kSF4:
      return kZeroCode4;
    case DType::kQ4_0:
      return 8;
    default:
      return 0;
  }
}

// dtype: one of 4 bits.
constexpr const CodeTable& code_table(DType dtype) noexcept {
  switch (dtype) {
    case DType::kNF4:
      return kNF4Codes;
    case DType::kQ4_0:
      return kQ4_0Codes;
    case DType::kQ4K:
      return kQ4KCodes;
    default:
      return kSF4Codes;
  }
}

// dtype: nf4 or sf4.
// Half-way between code i and code i + 1, in f32: the nearest code of t is the number of middles
// below t.
constexpr std::array<float, 15> code_middles(DType dtype) noexcept {
  std::array<float, 15> middles{};
  const CodeTable& codes = code_table(dtype);
  for (size_t i = 0; i < middles.size(); ++i) middles[i] = (codes[i] + codes[i + 1]) * 0.5f;
  return middles;
}

// The scale of a block of these bounds; a minimum or maximum of -0 counts as 0.
constexpr Int8Scale int8_scale(float min, float max) noexcept {
  return {f16_from(min + 0.0f), f16_from(max + 0.0f)};
}

// Whether f16 can hold `value` and so a scale can be made of it; false for NaN.
constexpr bool fits_scale(float value) noexcept { return value < 65520.0f && value > -65520.0f; }

constexpr uint8_t encode(Int8Scale scale, float value) noexcept {
  const float min = f32_from(scale.min);
  const float range = f32_from(scale.max) - min;
  if (range == 0) return 0;
  const float t = (value - min) / range;
  const float clamped = t < 0 ? 0.0f : (t > 1 ? 1.0f : t);
  // Half up, as WGSL's pack4x8unorm rounds; the sum is positive, so truncation is floor.
  return static_cast<uint8_t>(0.5f + 255.0f * clamped);  // NOLINT(bugprone-incorrect-roundings)
}

constexpr float decode(Int8Scale scale, uint8_t code) noexcept {
  const float min = f32_from(scale.min);
  const float range = f32_from(scale.max) - min;
  const float part = static_cast<float>(code) / 255.0f * range;
  return min + part;
}

// dtype: nf4 or sf4, as below.
constexpr uint8_t encode(DType dtype, AbsmaxScale scale, float value) noexcept {
  const float absmax = f32_from(scale.absmax);
  if (absmax == 0) return kZeroCode4;
  const float t = value / absmax;
  uint8_t code = 0;
  for (const float middle : code_middles(dtype)) code = static_cast<uint8_t>(code + (t > middle));
  return code;
}

constexpr float decode(DType dtype, AbsmaxScale scale, uint8_t code) noexcept {
  return code_table(dtype)[code & 15u] * f32_from(scale.absmax);
}

// Any codec. Codes of at most block_cols values, one a byte, and their scale of scale_bytes().
// False, with bytes unspecified, where a value has no place in a scale.
bool encode_block(DType dtype, std::span<const float> values, uint8_t* codes,
                  std::byte* scale) noexcept;

// Element `col` of a block.
float decode_in_block(DType dtype, const std::byte* scale, uint32_t col, uint8_t code) noexcept;

}  // namespace skein
