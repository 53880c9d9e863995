// The JSON header of a .safetensors file: text to entries. Reader and writer share it; others use
// safetensors.h.
//
// Goals: the grammar in one pass, without recursion and without a document tree, so that no nesting
// can overflow the stack. Non-goals: what the numbers mean (sizes, offsets, overlaps, duplicate
// names); safetensors.cc checks that.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/file_dtype.h"

namespace skein {

inline constexpr std::string_view kMetadataKey = "__metadata__";

struct HeaderTensor {
  std::string name;
  FileDType dtype = FileDType::kU8;
  std::vector<uint64_t> shape;
  uint64_t begin_bytes = 0;  // data_offsets, from the start of the data
  uint64_t end_bytes = 0;
};

struct SafetensorsHeader {
  std::vector<HeaderTensor> tensors;  // in the order of the text; names may still repeat
  std::map<std::string, std::string> metadata;
};

// `file` stands at the start of every message. The result obeys the grammar and the caps of
// Safetensors.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view text, const std::string& file);

// A tensor name is 1 to Safetensors::kMaxNameBytes bytes without control characters (names go into
// messages and tables).
bool is_tensor_name(std::string_view name) noexcept;

// 'name' for a message: control characters as \xNN, the middle of a long one cut out, always one
// short line.
std::string quote_name(std::string_view name);

// bytes of dtype × product of shape; nothing where that overflows, or where the last axis of a
// block codec is no whole number of blocks.
std::optional<uint64_t> tensor_bytes(FileDType dtype, std::span<const uint64_t> shape) noexcept;

}  // namespace skein
