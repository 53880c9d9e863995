// ggml's block codecs q8_0, q4_0 and q4_k: what a code means and how a block is encoded.
//
// Goals: ggml's values, bit for bit, both ways (format/ggml_blocks.h decodes its blocks as they lie
// in a file; ggml_codec_test.cc compares); the block of a file is taken apart into codes in the
// order of the cols and a scale, which is ggml's own header. Non-goals: speed.
//
// All arithmetic is f32, each operation rounded by itself, in the order written here. d and dmin
// are f16; d may be negative in q8_0 and q4_0.
//
//   q8_0  32 cols;  d = absmax / 127; q = round(w / d), -128 .. 127 as two's complement
//         w' = d q
//   q4_0  32 cols;  d = m / -8, m the value whose absolute value is largest; q = trunc(w / d + 8.5)
//         w' = d (q - 8)
//   q4_k  256 cols, in runs of 32 with a factor s and a minimum t of 6 bits each
//         w' = (d s) q - dmin t
//         encoding searches d s and dmin t of a run for the least error, weighted by |w|
//
// A block with a value that is NaN or does not fit into f16 is refused, as in codec.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/float16.h"
#include "tensor/dtype.h"

namespace skein {

// Of q8_0 and q4_0.
struct FactorScale {
  F16 d;
  friend constexpr bool operator==(FactorScale, FactorScale) = default;
};
static_assert(sizeof(FactorScale) == scale_bytes(DType::kQ8_0));
static_assert(sizeof(FactorScale) == scale_bytes(DType::kQ4_0));

// Of q4_k. `pairs`: runs 0 to 3 have s in the low six bits of byte i and t in those of byte i + 4;
// runs 4 to 7 have the low four bits of s and t in byte i + 4 and the two upper ones in the upper
// bits of bytes i - 4 and i. As four words: d and dmin, s 0-3, t 0-3, s and t 4-7.
struct Q4KScale {
  F16 d;
  F16 dmin;
  std::array<uint8_t, 12> pairs;
  friend constexpr bool operator==(const Q4KScale&, const Q4KScale&) = default;
};
static_assert(sizeof(Q4KScale) == scale_bytes(DType::kQ4K));

inline constexpr uint32_t kQ4KRuns = block_cols(DType::kQ4K) / step_cols(DType::kQ4K);

// d s and dmin t of a run.
struct RunStep {
  float factor;
  float min;
};

constexpr RunStep run_step(const Q4KScale& scale, uint32_t run) noexcept {
  const auto byte = [&scale](uint32_t i) { return uint32_t{scale.pairs[i]}; };
  const uint32_t s = run < 4 ? byte(run) & 63u : (byte(run + 4) & 15u) | byte(run - 4) >> 6u << 4u;
  const uint32_t t = run < 4 ? byte(run + 4) & 63u : byte(run + 4) >> 4u | byte(run) >> 6u << 4u;
  return {f32_from(scale.d) * static_cast<float>(s), f32_from(scale.dmin) * static_cast<float>(t)};
}

constexpr float decode(RunStep step, uint8_t code) noexcept {
  const float product = step.factor * static_cast<float>(code & 15u);
  return product - step.min;
}

constexpr float decode_q8_0(FactorScale scale, uint8_t code) noexcept {
  return f32_from(scale.d) * static_cast<float>(static_cast<int8_t>(code));
}

constexpr float decode_q4_0(FactorScale scale, uint8_t code) noexcept {
  return f32_from(scale.d) * (static_cast<float>(code & 15u) - 8.0f);
}

// At most block_cols values, all of which fit (codec.h); a code a byte. As ggml's reference code
// (quantize_row_q8_0_ref and so on) encodes a whole block.
FactorScale encode_q8_0(std::span<const float> values, uint8_t* codes) noexcept;
FactorScale encode_q4_0(std::span<const float> values, uint8_t* codes) noexcept;
Q4KScale encode_q4_k(std::span<const float> values, uint8_t* codes) noexcept;

}  // namespace skein
