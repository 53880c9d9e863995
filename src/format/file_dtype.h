// FileDType: the element types that a .safetensors file can name. What Skein computes with is
// tensor/dtype.h; the model loader converts. The sub-byte types of the format (F4, F6_*) are
// unknown here, so such a file is refused.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace skein {

enum class FileDType : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,  // a complex number of two f32
  kF64,
  kI64,
  kU64,
};

// Bytes of one element: 1, 2, 4 or 8.
uint64_t file_dtype_bytes(FileDType dtype) noexcept;

// The format's name, e.g. "BF16"; parse_file_dtype is its inverse and gives nothing for any other
// text.
std::string_view file_dtype_name(FileDType dtype) noexcept;
std::optional<FileDType> parse_file_dtype(std::string_view name) noexcept;

}  // namespace skein
