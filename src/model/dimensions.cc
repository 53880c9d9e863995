#include "model/dimensions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

namespace skein {
namespace {

// The tensor's two dimensions.
Result<std::pair<uint64_t, uint64_t>> matrix_shape(const ModelTensors& file,
                                                   const std::string& path, const std::string& name,
                                                   std::string_view meaning) {
  const TensorInfo* tensor = file.find(name);
  if (tensor == nullptr)
    return error("{}: expected a tensor '{}' {}, found none", path, name, meaning);
  if (tensor->shape.size() != 2 || tensor->shape[0] == 0 || tensor->shape[1] == 0) {
    return error("{}: tensor '{}': expected a shape {}, found {}", path, name, meaning,
                 shape_text(tensor->shape));
  }
  return std::pair(tensor->shape[0], tensor->shape[1]);
}

// [heads, head size], as r_k has them; ggml's files hold it as a vector of the width, and no other
// head size exists.
Result<std::pair<uint64_t, uint64_t>> head_shape(const ModelTensors& file,
                                                 const std::string& path) {
  const TensorInfo* r_k = file.find("blocks.0.att.r_k");
  if (r_k != nullptr && r_k->shape.size() == 1 && r_k->shape[0] % kHeadSize == 0) {
    return std::pair(r_k->shape[0] / kHeadSize, uint64_t{kHeadSize});
  }
  return matrix_shape(file, path, "blocks.0.att.r_k", "[heads, head size]");
}

// One more than the largest N of the tensors named blocks.N.*; 0 where there is none.
uint64_t count_layers(const ModelTensors& file) {
  constexpr std::string_view kPrefix = "blocks.";
  uint64_t count = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    const std::string_view name = tensor.name;
    if (!name.starts_with(kPrefix)) continue;
    uint32_t layer = 0;
    const char* begin = name.data() + kPrefix.size();
    const auto [end, code] = std::from_chars(begin, name.data() + name.size(), layer);
    if (code == std::errc() && end != begin) count = std::max<uint64_t>(count, uint64_t{layer} + 1);
  }
  return count;
}

// What a model is that has all of RWKV-7's tensors and others beside them, without which it gives
// nonsense. They stand in layer 0 as in all.
struct Variant {
  std::string_view part;  // of a tensor's name behind "blocks.0."
  std::string_view what;
};

constexpr Variant kVariants[] = {
    {"qkv.", "an RWKV-7b model (x070b: deep embedding attention)"},
    {"ffn.s_emb", "an RWKV-7a model (x070a: deep embeddings)"},
    {"ffn.enn.", "an RWKV-8 model (deep embeddings)"},
    {"rosa", "an RWKV-8 model (ROSA)"},
};

// Says which other model this is, where its tensors tell.
Status check_version(const ModelTensors& file, const std::string& path) {
  const auto refuse = [&](std::string_view what) -> Status {
    return error("{}: expected an RWKV-7 model, found {}", path, what);
  };
  for (const Variant& variant : kVariants) {
    for (const TensorInfo& tensor : file.tensors()) {
      const std::string_view name = tensor.name;
      constexpr std::string_view kLayer = "blocks.0.";
      if (!name.starts_with(kLayer) || name.find(variant.part, kLayer.size()) == name.npos)
        continue;
      return refuse(fmt::format("{}, which has '{}'", variant.what, name));
    }
  }
  if (file.find("blocks.0.att.r_k") != nullptr) return {};
  if (file.find("blocks.0.att.time_maa_x") != nullptr) return refuse("an RWKV-6 model");
  if (file.find("blocks.0.att.time_faaaa") != nullptr) return refuse("an RWKV-5 model");
  if (file.find("blocks.0.att.time_mix_k") != nullptr) return refuse("an RWKV-4 model");
  if (file.tensors().empty()) return refuse("a file without tensors");
  if (file.find("emb.weight") == nullptr) {
    return refuse(fmt::format("a file without 'emb.weight' (its first tensor is '{}')",
                              file.tensors().front().name));
  }
  return refuse("a model without 'blocks.0.att.r_k'");
}

Status check_bound(const std::string& path, std::string_view what, uint64_t value, uint64_t max) {
  if (value >= 1 && value <= max) return {};
  return error("{}: expected 1 to {} {}, found {}", path, max, what, value);
}

}  // namespace

std::string shape_text(std::span<const uint64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

Status check_dimensions(const Dimensions& dims, const std::string& path) {
  SKEIN_RETURN_IF_ERROR(check_bound(path, "layers", dims.num_layers, kMaxNumLayers));
  SKEIN_RETURN_IF_ERROR(
      check_bound(path, "tokens in the vocabulary", dims.num_vocab, kMaxNumVocab));
  SKEIN_RETURN_IF_ERROR(check_bound(path, "channels", dims.num_emb, kMaxNumEmb));
  SKEIN_RETURN_IF_ERROR(check_bound(path, "hidden channels", dims.num_hidden, kMaxNumHidden));
  if (dims.head_size != kHeadSize || dims.num_emb % kHeadSize != 0 ||
      dims.num_heads != dims.num_emb / kHeadSize) {
    return error("{}: expected a width of {} per head, found width {} and {} heads", path,
                 kHeadSize, dims.num_emb, dims.num_heads);
  }
  const std::pair<const char*, uint32_t> ranks[] = {
      {"w", dims.rank_w}, {"a", dims.rank_a}, {"v", dims.rank_v}, {"g", dims.rank_g}};
  for (const auto& [name, rank] : ranks) {
    // Only layers behind the first have v1 and v2.
    if (*name == 'v' && dims.num_layers == 1 && rank == 0) continue;
    SKEIN_RETURN_IF_ERROR(check_bound(path, fmt::format("as rank {}", name), rank, kMaxNumEmb));
  }
  return {};
}

Result<Dimensions> infer_dimensions(const ModelTensors& file, const std::string& path) {
  SKEIN_RETURN_IF_ERROR(check_version(file, path));
  const uint64_t num_layers = count_layers(file);
  SKEIN_ASSIGN_OR_RETURN(const auto emb,
                         matrix_shape(file, path, "emb.weight", "[vocabulary, width]"));
  SKEIN_ASSIGN_OR_RETURN(const auto r_k, head_shape(file, path));
  SKEIN_ASSIGN_OR_RETURN(const auto hidden,
                         matrix_shape(file, path, "blocks.0.ffn.key.weight", "[hidden, width]"));
  SKEIN_RETURN_IF_ERROR(check_bound(path, "layers", num_layers, kMaxNumLayers));
  SKEIN_RETURN_IF_ERROR(check_bound(path, "tokens in the vocabulary", emb.first, kMaxNumVocab));
  SKEIN_RETURN_IF_ERROR(check_bound(path, "channels", emb.second, kMaxNumEmb));
  SKEIN_RETURN_IF_ERROR(check_bound(path, "hidden channels", hidden.first, kMaxNumHidden));
  if (r_k.second != kHeadSize) {
    return error("{}: tensor 'blocks.0.att.r_k': expected head size {}, found {}", path, kHeadSize,
                 r_k.second);
  }
  if (emb.second % kHeadSize != 0 || r_k.first != emb.second / kHeadSize) {
    return error("{}: expected a width of {} per head, found width {} and {} heads", path,
                 kHeadSize, emb.second, r_k.first);
  }

  const auto rank = [&](std::string_view which, uint32_t layer) -> Result<uint32_t> {
    const std::string name = fmt::format("blocks.{}.att.{}", layer, which);
    SKEIN_ASSIGN_OR_RETURN(
        const auto shape,
        matrix_shape(file, path, name,
                     file.low_rank_is_rows() ? "[rank, width]" : "[width, rank]"));
    const uint64_t rank = file.low_rank_is_rows() ? shape.first : shape.second;
    SKEIN_RETURN_IF_ERROR(
        check_bound(path, fmt::format("as the rank of '{}'", name), rank, kMaxNumEmb));
    return static_cast<uint32_t>(rank);
  };
  Dimensions dims;
  dims.num_layers = static_cast<uint32_t>(num_layers);
  dims.num_vocab = static_cast<uint32_t>(emb.first);
  dims.num_emb = static_cast<uint32_t>(emb.second);
  dims.num_hidden = static_cast<uint32_t>(hidden.first);
  dims.num_heads = static_cast<uint32_t>(r_k.first);
  dims.head_size = kHeadSize;
  SKEIN_ASSIGN_OR_RETURN(dims.rank_w, rank("w1", 0));
  SKEIN_ASSIGN_OR_RETURN(dims.rank_a, rank("a1", 0));
  SKEIN_ASSIGN_OR_RETURN(dims.rank_g, rank("g1", 0));
  if (dims.num_layers > 1) {
    SKEIN_ASSIGN_OR_RETURN(dims.rank_v, rank("v1", 1));
  }
  return dims;
}

}  // namespace skein
