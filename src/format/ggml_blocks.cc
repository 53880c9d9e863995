#include "format/ggml_blocks.h"

#include <array>
#include <cstring>

#include "base/check.h"
#include "base/float16.h"

namespace skein {
namespace {

constexpr uint32_t kSmall = 32;   // elements of a block of Q8_0 to Q5_1
constexpr uint32_t kSuper = 256;  // of the K codecs
constexpr uint32_t kRun = 32;     // elements of Q4_K and Q5_K that share a scale

uint32_t byte_at(const std::byte* bytes, uint32_t i) noexcept {
  return std::to_integer<uint32_t>(bytes[i]);
}

float f16_at(const std::byte* bytes) noexcept {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  return f32_from(F16{bits});
}

float signed_at(const std::byte* bytes, uint32_t i) noexcept {
  return static_cast<float>(static_cast<int8_t>(byte_at(bytes, i)));
}

void decode_q8_0(const std::byte* block, float* out) noexcept {
  const float d = f16_at(block);
  for (uint32_t i = 0; i < kSmall; ++i) out[i] = d * signed_at(block + 2, i);
}

void decode_q4_0(const std::byte* block, float* out) noexcept {
  const float d = f16_at(block);
  for (uint32_t i = 0; i < kSmall / 2; ++i) {
    const uint32_t codes = byte_at(block + 2, i);
    out[i] = d * (static_cast<float>(codes & 15) - 8);
    out[i + kSmall / 2] = d * (static_cast<float>(codes >> 4) - 8);
  }
}

void decode_q4_1(const std::byte* block, float* out) noexcept {
  const float d = f16_at(block), m = f16_at(block + 2);
  for (uint32_t i = 0; i < kSmall / 2; ++i) {
    const uint32_t codes = byte_at(block + 4, i);
    out[i] = d * static_cast<float>(codes & 15) + m;
    out[i + kSmall / 2] = d * static_cast<float>(codes >> 4) + m;
  }
}

// The codes of the five-bit blocks of 32, whose fifth bits are at `high` and nibbles behind them.
std::array<float, kSmall> five_bit_codes(const std::byte* high) noexcept {
  uint32_t bits;
  std::memcpy(&bits, high, sizeof bits);
  std::array<float, kSmall> codes;
  for (uint32_t i = 0; i < kSmall / 2; ++i) {
    const uint32_t pair = byte_at(high + 4, i);
    codes[i] = static_cast<float>((pair & 15) | (bits >> i & 1) << 4);
    codes[i + kSmall / 2] = static_cast<float>(pair >> 4 | (bits >> (i + kSmall / 2) & 1) << 4);
  }
  return codes;
}

void decode_q5_0(const std::byte* block, float* out) noexcept {
  const float d = f16_at(block);
  const auto codes = five_bit_codes(block + 2);
  for (uint32_t i = 0; i < kSmall; ++i) out[i] = d * (codes[i] - 16);
}

void decode_q5_1(const std::byte* block, float* out) noexcept {
  const float d = f16_at(block), m = f16_at(block + 2);
  const auto codes = five_bit_codes(block + 4);
  for (uint32_t i = 0; i < kSmall; ++i) out[i] = d * codes[i] + m;
}

struct ScaleAndMin {
  float scale, min;
};

// Of run i in 0..7. Twelve bytes hold eight scales and eight minima of six bits: runs 0 to 3 have
// theirs in the low six bits of bytes i and i + 4; runs 4 to 7 have four bits in byte i + 4 and the
// two upper ones in the upper bits of bytes i - 4 and i.
ScaleAndMin scale_and_min(const std::byte* scales, uint32_t i) noexcept {
  if (i < 4) {
    return {static_cast<float>(byte_at(scales, i) & 63),
            static_cast<float>(byte_at(scales, i + 4) & 63)};
  }
  const uint32_t low = byte_at(scales, i + 4);
  return {static_cast<float>((low & 15) | byte_at(scales, i - 4) >> 6 << 4),
          static_cast<float>(low >> 4 | byte_at(scales, i) >> 6 << 4)};
}

// `high`: bit i of byte j is the fifth bit of element j of run i; nullptr where codes have four.
void decode_q45_k(const std::byte* block, const std::byte* high, const std::byte* codes,
                  float* out) noexcept {
  const float d = f16_at(block), dmin = f16_at(block + 2);
  for (uint32_t run = 0; run < kSuper / kRun; ++run) {
    const auto [scale, min] = scale_and_min(block + 4, run);
    const float a = d * scale, b = dmin * min;
    const std::byte* pairs = codes + run / 2 * kRun;
    for (uint32_t i = 0; i < kRun; ++i) {
      uint32_t code = run % 2 == 0 ? byte_at(pairs, i) & 15 : byte_at(pairs, i) >> 4;
      if (high != nullptr) code |= (byte_at(high, i) >> run & 1) << 4;
      out[run * kRun + i] = a * static_cast<float>(code) - b;
    }
  }
}

void decode_q4_k(const std::byte* block, float* out) noexcept {
  decode_q45_k(block, nullptr, block + 16, out);
}

void decode_q5_k(const std::byte* block, float* out) noexcept {
  decode_q45_k(block, block + 16, block + 48, out);
}

// Two halves of 128 elements, each four runs of 32: 64 bytes of low nibbles (runs 0 and 1 in the
// low nibbles of bytes 0 to 63, runs 2 and 3 in the high ones) and 32 bytes of upper pairs of bits
// (run i in bits 2i). A scale is for 16 elements.
void decode_q6_k(const std::byte* block, float* out) noexcept {
  const float d = f16_at(block + 208);
  for (uint32_t e = 0; e < kSuper; ++e) {
    const uint32_t half = e / 128, run = e % 128 / 32, i = e % 32;
    const uint32_t pair = byte_at(block, half * 64 + run % 2 * 32 + i);
    const uint32_t low = run < 2 ? pair & 15 : pair >> 4;
    const uint32_t high = byte_at(block + 128, half * 32 + i) >> (2 * run) & 3;
    const float scale = d * signed_at(block + 192, e / 16);
    out[e] = scale * (static_cast<float>(low | high << 4) - 32);
  }
}

template <typename Decode>
void decode_all(FileDType dtype, const std::byte* blocks, std::span<float> out,
                Decode decode) noexcept {
  const FileBlock block = file_dtype_block(dtype);
  CHECK(out.size() % block.elems == 0);
  for (size_t i = 0; i < out.size(); i += block.elems) {
    decode(blocks, out.data() + i);
    blocks += block.bytes;
  }
}

}  // namespace

void decode_ggml_blocks(FileDType dtype, const std::byte* blocks, std::span<float> out) noexcept {
  switch (dtype) {
    case FileDType::kQ8_0:
      return decode_all(dtype, blocks, out, decode_q8_0);
    case FileDType::kQ4_0:
      return decode_all(dtype, blocks, out, decode_q4_0);
    case FileDType::kQ4_1:
      return decode_all(dtype, blocks, out, decode_q4_1);
    case FileDType::kQ5_0:
      return decode_all(dtype, blocks, out, decode_q5_0);
    case FileDType::kQ5_1:
      return decode_all(dtype, blocks, out, decode_q5_1);
    case FileDType::kQ4K:
      return decode_all(dtype, blocks, out, decode_q4_k);
    case FileDType::kQ5K:
      return decode_all(dtype, blocks, out, decode_q5_k);
    case FileDType::kQ6K:
      return decode_all(dtype, blocks, out, decode_q6_k);
    default:
      break;
  }
  CHECK(false);
}

namespace {

// Codes 0, 1, ... of `count` bytes' low nibbles, or of their high ones, as pairs.
void pair_nibbles(const std::byte* bytes, uint32_t count, bool high, std::byte* out) noexcept {
  const std::byte mask{15};
  for (uint32_t i = 0; i < count; i += 2) {
    const std::byte first = high ? bytes[i] >> 4 : bytes[i] & mask;
    const std::byte second = high ? bytes[i + 1] >> 4 : bytes[i + 1] & mask;
    out[i / 2] = first | second << 4;
  }
}

// Of each run_bytes bytes the codes of all low nibbles, then those of all high ones.
void split_nibbles(const std::byte* bytes, uint32_t num_bytes, uint32_t run_bytes,
                   std::byte* codes) noexcept {
  for (uint32_t at = 0; at < num_bytes; at += run_bytes) {
    pair_nibbles(bytes + at, run_bytes, false, codes + at);
    pair_nibbles(bytes + at, run_bytes, true, codes + at + run_bytes / 2);
  }
}

}  // namespace

void split_ggml_blocks(FileDType dtype, const std::byte* blocks, uint64_t num_blocks,
                       std::byte* codes, std::byte* scales) noexcept {
  CHECK(dtype == FileDType::kQ8_0 || dtype == FileDType::kQ4_0 || dtype == FileDType::kQ4K);
  const uint32_t scale_bytes = dtype == FileDType::kQ4K ? 16 : 2;
  const uint64_t block_bytes = file_dtype_block(dtype).bytes;
  const auto code_bytes = static_cast<uint32_t>(block_bytes - scale_bytes);
  for (uint64_t i = 0; i < num_blocks; ++i, blocks += block_bytes) {
    std::memcpy(scales + i * scale_bytes, blocks, scale_bytes);
    const std::byte* from = blocks + scale_bytes;
    std::byte* to = codes + i * code_bytes;
    if (dtype == FileDType::kQ8_0) {
      std::memcpy(to, from, code_bytes);
    } else {
      split_nibbles(from, code_bytes, dtype == FileDType::kQ4K ? kRun : kSmall / 2, to);
    }
  }
}

}  // namespace skein
