#include "model/model_file.h"

#include "model/dimensions.h"

#include "format/safetensors_header.h"

namespace skein {
namespace {

// What llama.cpp calls RWKV-7. Others have other tensors: "arwkv7" has Qwen's ffn.
constexpr std::string_view kArchitecture = "rwkv7";

Status check_gguf(const Gguf& gguf, const std::string& path) {
  const std::string_view architecture = gguf.text("general.architecture").value_or("");
  if (architecture != kArchitecture) {
    return error("{}: expected the architecture '{}', found {}", path, kArchitecture,
                 architecture.empty() ? "none" : quote_name(architecture));
  }
  const uint64_t head_size = gguf.number("rwkv7.wkv.head_size").value_or(kHeadSize);
  if (head_size == kHeadSize) return {};
  return error("{}: expected head size {}, found {}", path, kHeadSize, head_size);
}

}  // namespace

Result<ModelFile> ModelFile::open(const std::string& path) {
  SKEIN_ASSIGN_OR_RETURN(TensorFile file, TensorFile::open(path));
  ModelFile model(path, std::make_shared<const TensorFile>(std::move(file)));
  if (model.file_->gguf() != nullptr) {
    SKEIN_RETURN_IF_ERROR(check_gguf(*model.file_->gguf(), path));
  }
  if (!is_packed(model.file_->metadata())) {
    SKEIN_ASSIGN_OR_RETURN(model.tensors_, ModelTensors::create(*model.file_, path));
    SKEIN_ASSIGN_OR_RETURN(model.dims_, infer_dimensions(model.tensors_, path));
    return model;
  }
  SKEIN_ASSIGN_OR_RETURN(PackedHeader header, parse_packed_header(model.file_->metadata(), path));
  model.dims_ = header.dims;
  model.packed_ = std::make_shared<const PackedHeader>(std::move(header));
  return model;
}

std::string ModelFile::format_text() const {
  std::string text(to_string(file_->format()));
  if (file_->gguf() != nullptr) text += fmt::format(" {}", file_->gguf()->version);
  if (file_->num_shards() > 1) text += fmt::format(" in {} shards", file_->num_shards());
  if (packed() != nullptr) return text;
  if (tensors_.naming() != Naming::kBlinkDL) {
    text += fmt::format(", names of {}", to_string(tensors_.naming()));
  }
  if (tensors_.low_rank_is_rows()) text += ", low-rank matrices by rows";
  if (tensors_.has_tied_head()) text += ", the embedding as head";
  return text;
}

}  // namespace skein
