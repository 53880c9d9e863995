// Integer arithmetic that layouts and loaders share: ceilings, powers of two, products that notice
// overflow.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace skein {

// ceil(a / b); b > 0. No overflow for any a.
template <std::unsigned_integral T>
constexpr T ceil_div(T a, T b) noexcept {
  return static_cast<T>(a / b + (a % b != 0 ? 1 : 0));
}

// The smallest multiple of b that is >= a; b > 0. The result must be representable.
template <std::unsigned_integral T>
constexpr T round_up(T a, T b) noexcept {
  return static_cast<T>(ceil_div(a, b) * b);
}

template <std::unsigned_integral T>
constexpr bool is_power_of_two(T a) noexcept {
  return std::has_single_bit(a);
}

// a * b, or nothing where that overflows.
constexpr std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) noexcept {
  if (b != 0 && a > std::numeric_limits<uint64_t>::max() / b) return std::nullopt;
  return a * b;
}

// a + b, or nothing where that overflows.
constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) noexcept {
  if (a > std::numeric_limits<uint64_t>::max() - b) return std::nullopt;
  return a + b;
}

}  // namespace skein
