#include "model/model_file.h"

#include "model/dimensions.h"

namespace skein {

Result<ModelFile> ModelFile::open(const std::string& path) {
  SKEIN_ASSIGN_OR_RETURN(Safetensors file, Safetensors::open(path));
  ModelFile model(path, std::make_shared<const Safetensors>(std::move(file)));
  if (!is_packed(model.file_->metadata())) {
    SKEIN_ASSIGN_OR_RETURN(model.dims_, infer_dimensions(*model.file_, path));
    return model;
  }
  SKEIN_ASSIGN_OR_RETURN(PackedHeader header, parse_packed_header(model.file_->metadata(), path));
  model.dims_ = header.dims;
  model.packed_ = std::make_shared<const PackedHeader>(std::move(header));
  return model;
}

}  // namespace skein
