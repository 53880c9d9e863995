// FileDType: the element types that a model file can name: those of .safetensors, and the block
// codecs of .gguf that ggml_blocks.h decodes. What Skein computes with is tensor/dtype.h; the model
// loader converts. The sub-byte types of .safetensors (F4, F6_*) are unknown here, so such a file
// is refused.
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
  // Only in .gguf: blocks of elements of one row, with their scales in front.
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4K,
  kQ5K,
  kQ6K,
};

// Elements that share a scale, and their bytes with it; of other types one element.
struct FileBlock {
  uint64_t elems = 1;
  uint64_t bytes = 1;
};
FileBlock file_dtype_block(FileDType dtype) noexcept;

// Whether elements share scales.
constexpr bool is_block_coded(FileDType dtype) noexcept { return dtype >= FileDType::kQ8_0; }

// Bytes of one element: 1, 2, 4 or 8. Not for block codecs (a CHECK).
uint64_t file_dtype_bytes(FileDType dtype) noexcept;

// The format's name, e.g. "BF16" or "Q4_K". parse_file_dtype is its inverse for the types of
// .safetensors and gives nothing for any other text.
std::string_view file_dtype_name(FileDType dtype) noexcept;
std::optional<FileDType> parse_file_dtype(std::string_view name) noexcept;

}  // namespace skein
