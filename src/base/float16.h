// F16 (IEEE binary16) and BF16 as storage types, with scalar conversions. Hot loops convert vectors
// in backend/cpu.
//
// Laws: widening is exact; narrowing rounds to the nearest, ties to even; NaN stays NaN, infinities
// stay infinite.
#pragma once

#include <bit>
#include <cstdint>

namespace skein {

struct F16 {
  uint16_t bits = 0;
  friend constexpr bool operator==(F16, F16) = default;
};

struct BF16 {
  uint16_t bits = 0;
  friend constexpr bool operator==(BF16, BF16) = default;
};

static_assert(sizeof(F16) == 2 && sizeof(BF16) == 2);

constexpr float f32_from(F16 h) noexcept {
  const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16;
  const uint32_t exponent = (h.bits >> 10) & 0x1fu;
  const uint32_t mantissa = h.bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  // Subnormal: mantissa * 2^-24, exact in f32.
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

constexpr float f32_from(BF16 b) noexcept {
  return std::bit_cast<float>(static_cast<uint32_t>(b.bits) << 16);
}

constexpr BF16 bf16_from(float f) noexcept {
  const uint32_t u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u)
    return {static_cast<uint16_t>((u >> 16) | 0x40u)};  // quiet NaN
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

constexpr F16 f16_from(float f) noexcept {
  const uint32_t u = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (u >> 16) & 0x8000u;
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};  // quiet NaN
  if (magnitude >= 0x477ff000u)
    return {static_cast<uint16_t>(sign | 0x7c00u)};  // 65520 and up round to infinity
  if (magnitude < 0x38800000u) {
    // Below 2^-14. Adding 0.5 puts the f16 subnormal's last bit (2^-24) at f32's last bit, so the
    // FPU rounds for us.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

}  // namespace skein
