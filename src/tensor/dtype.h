// DType: how one weight or activation is stored. A layout says where an element lies, a DType what
// it is.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace skein {

// The element types. Block codecs (int8, nf4, sf4) join this list: their element is the code, and
// their scales lie in a section of their own, so `element_bits` stays the only thing that a layout
// needs to know.
enum class DType : uint8_t { kF32, kF16, kBF16 };

inline constexpr std::array<DType, 3> kDTypes = {DType::kF32, DType::kF16, DType::kBF16};

constexpr uint32_t element_bits(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF32:
      return 32;
    case DType::kF16:
      return 16;
    case DType::kBF16:
      return 16;
  }
  return 0;
}

constexpr std::string_view to_string(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
  }
  return "?";
}

inline Result<DType> parse_dtype(std::string_view text) {
  for (DType dtype : kDTypes) {
    if (text == to_string(dtype)) return dtype;
  }
  return error("dtype: expected f32, f16 or bf16, found '{}'", text);
}

}  // namespace skein
