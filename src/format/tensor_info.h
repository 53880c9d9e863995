// TensorInfo: one tensor of a model file, whatever its format: a name, a type, a shape, and its
// bytes as a view of the mapped file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/file_dtype.h"

namespace skein {

struct TensorInfo {
  std::string name;
  FileDType dtype = FileDType::kU8;
  std::vector<uint64_t> shape;  // slowest axis first; empty: one element
  // As many as dtype and shape say, checked. Nothing of a format aligns them: readers use memcpy or
  // unaligned loads, never a cast to a typed pointer, unless they have checked the address.
  std::span<const std::byte> data;
  uint64_t offset_bytes = 0;  // of data, from the start of its file
};

}  // namespace skein
