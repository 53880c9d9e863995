// ModelFile: a model on disk, opened and understood as far as its header goes: an ordinary one in
// any of the formats of format/tensor_file.h, or one that `skein pack` wrote.
//
// Goals: what a caller wants to know before any weight is read (the vocabulary's size, whether
// layouts can still be chosen) costs the header only. Non-goals: the tensors (loader.cc,
// packed_loader.cc).
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "backend/rwkv7.h"
#include "base/result.h"
#include "format/tensor_file.h"
#include "model/packed_header.h"
#include "model/tensor_names.h"

namespace skein {

class ModelFile {
 public:
  // Errors: what TensorFile::open, infer_dimensions and parse_packed_header refuse; a .gguf file of
  // another architecture.
  static Result<ModelFile> open(const std::string& path);

  const std::string& path() const noexcept { return path_; }
  const Dimensions& dims() const noexcept { return dims_; }
  // Shared with the tensors that stay in the mapped file.
  const std::shared_ptr<const TensorFile>& file() const noexcept { return file_; }
  // Under BlinkDL's names; of a packed model there are none.
  const ModelTensors& tensors() const noexcept { return tensors_; }
  // The format in words: "safetensors", "pth, low-rank matrices by rows", "gguf 3, ggml's names,
  // low-rank matrices by rows", "safetensors in 3 shards, ...".
  std::string format_text() const;
  // What a packed model says of itself; nullptr for an ordinary one.
  const PackedHeader* packed() const noexcept { return packed_.get(); }

 private:
  ModelFile(std::string path, std::shared_ptr<const TensorFile> file)
      : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  std::shared_ptr<const TensorFile> file_;
  ModelTensors tensors_;
  std::shared_ptr<const PackedHeader> packed_;
  Dimensions dims_;
};

}  // namespace skein
