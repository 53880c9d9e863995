// ModelFile: a model on disk, opened and understood as far as its header goes: an ordinary
// .safetensors or one that `skein pack` wrote.
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
#include "format/safetensors.h"
#include "model/packed_header.h"

namespace skein {

class ModelFile {
 public:
  // Errors: what Safetensors::open, infer_dimensions and parse_packed_header refuse.
  static Result<ModelFile> open(const std::string& path);

  const std::string& path() const noexcept { return path_; }
  const Dimensions& dims() const noexcept { return dims_; }
  // Shared with the tensors that stay in the mapped file.
  const std::shared_ptr<const Safetensors>& file() const noexcept { return file_; }
  // What a packed model says of itself; nullptr for an ordinary one.
  const PackedHeader* packed() const noexcept { return packed_.get(); }

 private:
  ModelFile(std::string path, std::shared_ptr<const Safetensors> file)
      : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  std::shared_ptr<const Safetensors> file_;
  std::shared_ptr<const PackedHeader> packed_;
  Dimensions dims_;
};

}  // namespace skein
