// Gguf: a .gguf file (llama.cpp), checked in full before anything of it is used, its tensors and
// metadata as views of the file.
//
// The format, little-endian: "GGUF", u32 version, u64 number of tensors, u64 number of metadata;
// the metadata: a key, a type, a value each; the tensors: name, number of dimensions, dimensions
// (the fastest first), type, offset; then, from the next multiple of `general.alignment` (32) on,
// the data. Strings have a u64 length in front.
//
// Goals: versions 2 and 3; no input, however hostile, crashes, hangs or allocates more than a small
// multiple of what it says of its tensors and strings. Non-goals: writing (gguf_writer.h), version
// 1, big-endian files, what the metadata mean, the codecs that ggml_blocks.h does not have: such a
// tensor is refused by the codec's name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "format/tensor_info.h"

namespace skein {

// Of metadata, as the format numbers them.
enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

// Numbers side by side in the file.
struct GgufNumbers {
  GgufType type = GgufType::kU8;
  std::span<const std::byte> bytes;

  uint64_t count() const noexcept;
  // The i-th, i < count(); floats are cut to whole numbers, as far as they fit.
  int64_t integer(uint64_t i) const noexcept;
};

// Whole numbers are int64_t but u64, bool is bool, floats are double. Texts are views of the file.
using GgufValue = std::variant<int64_t, uint64_t, bool, double, std::string_view, GgufNumbers,
                               std::vector<std::string_view>>;

// ggml's number of a type; nothing for those that .gguf files do not have.
std::optional<uint32_t> ggml_type_number(FileDType dtype) noexcept;

using GgufMetadata = std::map<std::string, GgufValue, std::less<>>;

struct Gguf {
  // A file of more is hostile: the largest models have some thousands.
  static constexpr uint64_t kMaxTensors = 1u << 20;
  static constexpr uint64_t kMaxMetadata = 1u << 16;
  static constexpr uint32_t kMaxRank = 4;  // ggml's

  uint32_t version = 0;
  GgufMetadata metadata;
  std::vector<TensorInfo> tensors;  // in the order of their data in the file

  // `file` must outlive the result; `name` stands at the start of every message. Cost: metadata and
  // names; the data is not touched.
  static Result<Gguf> parse(std::span<const std::byte> file, const std::string& name);

  // The value of that key and kind, if there is one. Numbers must fit u64.
  std::optional<std::string_view> text(std::string_view key) const;
  std::optional<uint64_t> number(std::string_view key) const;
  const std::vector<std::string_view>* texts(std::string_view key) const;
  const GgufNumbers* numbers(std::string_view key) const;
};

}  // namespace skein
