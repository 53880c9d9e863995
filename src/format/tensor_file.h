// TensorFile: a model on disk as tensors by name, whatever its format.
//
// The formats: .safetensors, sharded .safetensors (the .index.json names the shards), .pth and
// .gguf. Which one a file is follows from its first bytes; its name counts for nothing but which
// message a file that is none of them gets.
//
// Goals: one place that knows that there is more than one format; tensors are views of mapped
// files, nothing is copied. Non-goals: what the names mean (model/tensor_names.h), decoding
// (ggml_blocks.h), writing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "format/gguf.h"
#include "format/tensor_info.h"

namespace skein {

enum class FileFormat : uint8_t { kSafetensors, kPth, kGguf };

// "safetensors", "pth", "gguf"
std::string_view to_string(FileFormat format) noexcept;

class TensorFile {
 public:
  // An index longer than this is hostile: the largest models have some hundred KB.
  static constexpr uint64_t kMaxIndexBytes = uint64_t{16} << 20;
  static constexpr size_t kMaxShards = 1024;

  // Errors: no such file; no model file, in which case the message says what it is as far as its
  // first bytes tell; whatever the reader of its format refuses. Cost: headers only.
  static Result<TensorFile> open(const std::string& path);

  FileFormat format() const noexcept { return format_; }

  // The tensor of that name, or nullptr. O(log tensors).
  const TensorInfo* find(std::string_view name) const noexcept;

  // In the order of their data, shard after shard.
  std::span<const TensorInfo> tensors() const noexcept { return tensors_; }

  // The texts that the file says of itself: `__metadata__` of a .safetensors file; else empty.
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }

  // All that a .gguf file says of itself (its tensors() are empty: they are here); else nullptr.
  const Gguf* gguf() const noexcept { return gguf_.get(); }

  // The mapped file; of a sharded model the first shard. The lifetime of all shards, and so of
  // every TensorInfo::data, is that of the TensorFile.
  const MappedFile& file() const noexcept { return files_.front(); }
  uint64_t num_shards() const noexcept { return files_.size(); }

  // Of all shards together.
  uint64_t num_bytes() const noexcept;

  // MappedFile::will_need and release for bytes of a tensor.
  void will_need(std::span<const std::byte> data) const noexcept;
  void release(std::span<const std::byte> data) const noexcept;

 private:
  TensorFile() = default;
  static Result<TensorFile> open_index(const std::string& path);
  Status add(MappedFile file);
  void index_names();

  FileFormat format_ = FileFormat::kSafetensors;
  std::vector<MappedFile> files_;
  std::vector<TensorInfo> tensors_;
  std::vector<size_t> by_name_;  // indices into tensors_, sorted by name
  std::map<std::string, std::string> metadata_;
  std::unique_ptr<const Gguf> gguf_;
};

}  // namespace skein
