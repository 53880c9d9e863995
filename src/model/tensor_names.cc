#include "model/tensor_names.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <utility>

#include "base/check.h"
#include "format/safetensors_header.h"

namespace skein {
namespace {

constexpr std::string_view kMixes = "rwkvag";
constexpr std::string_view kFusedSuffix = "att.x_?";

struct Rename {
  std::string_view from, to;
};

// Of whole names outside of layers, and of what follows "layers.N." and "blk.N.".
constexpr std::array kHuggingFaceTop = {
    Rename{"embeddings.weight", "emb.weight"}, Rename{"norm.weight", "ln_out.weight"},
    Rename{"norm.bias", "ln_out.bias"}, Rename{"lm_head.weight", "head.weight"}};

constexpr std::array kHuggingFaceLayer = {Rename{"pre_norm.weight", "ln0.weight"},
                                          Rename{"pre_norm.bias", "ln0.bias"},
                                          Rename{"attn_norm.weight", "ln1.weight"},
                                          Rename{"attn_norm.bias", "ln1.bias"},
                                          Rename{"ffn_norm.weight", "ln2.weight"},
                                          Rename{"ffn_norm.bias", "ln2.bias"},
                                          Rename{"attn.r_proj.weight", "att.receptance.weight"},
                                          Rename{"attn.k_proj.weight", "att.key.weight"},
                                          Rename{"attn.v_proj.weight", "att.value.weight"},
                                          Rename{"attn.o_proj.weight", "att.output.weight"},
                                          Rename{"attn.g_norm.weight", "att.ln_x.weight"},
                                          Rename{"attn.g_norm.bias", "att.ln_x.bias"},
                                          Rename{"attn.k_k", "att.k_k"},
                                          Rename{"attn.k_a", "att.k_a"},
                                          Rename{"attn.r_k", "att.r_k"},
                                          Rename{"attn.x_x", kFusedSuffix},
                                          Rename{"ffn.x_k", "ffn.x_k"},
                                          Rename{"ffn.key.weight", "ffn.key.weight"},
                                          Rename{"ffn.value.weight", "ffn.value.weight"}};

constexpr std::array kGgmlTop = {Rename{"token_embd.weight", "emb.weight"},
                                 Rename{"token_embd_norm.weight", "blocks.0.ln0.weight"},
                                 Rename{"token_embd_norm.bias", "blocks.0.ln0.bias"},
                                 Rename{"output_norm.weight", "ln_out.weight"},
                                 Rename{"output_norm.bias", "ln_out.bias"},
                                 Rename{"output.weight", "head.weight"}};

constexpr std::array kGgmlLayer = {Rename{"attn_norm.weight", "ln1.weight"},
                                   Rename{"attn_norm.bias", "ln1.bias"},
                                   Rename{"attn_norm_2.weight", "ln2.weight"},
                                   Rename{"attn_norm_2.bias", "ln2.bias"},
                                   Rename{"time_mix_receptance.weight", "att.receptance.weight"},
                                   Rename{"time_mix_key.weight", "att.key.weight"},
                                   Rename{"time_mix_value.weight", "att.value.weight"},
                                   Rename{"time_mix_output.weight", "att.output.weight"},
                                   Rename{"time_mix_ln.weight", "att.ln_x.weight"},
                                   Rename{"time_mix_ln.bias", "att.ln_x.bias"},
                                   Rename{"time_mix_k_k.weight", "att.k_k"},
                                   Rename{"time_mix_k_a.weight", "att.k_a"},
                                   Rename{"time_mix_r_k.weight", "att.r_k"},
                                   Rename{"time_mix_lerp_fused.weight", kFusedSuffix},
                                   Rename{"channel_mix_lerp_k.weight", "ffn.x_k"},
                                   Rename{"channel_mix_key.weight", "ffn.key.weight"},
                                   Rename{"channel_mix_value.weight", "ffn.value.weight"}};

std::string_view renamed(std::span<const Rename> list, std::string_view name) {
  const auto found = std::find_if(list.begin(), list.end(),
                                  [&](const Rename& rename) { return rename.from == name; });
  return found == list.end() ? std::string_view() : found->to;
}

// "PREFIX12.rest" as {"12", "rest"}.
std::optional<std::pair<std::string_view, std::string_view>> split_layer(std::string_view name,
                                                                         std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  if (digits == 0 || digits == name.size() || name[digits] != '.') return std::nullopt;
  return std::pair(name.substr(0, digits), name.substr(digits + 1));
}

// "attn.w_lora.lora.2.bias" is "att.w0"; "attn.x_r" is "att.x_r".
std::string hugging_face_pattern(std::string_view rest) {
  constexpr std::string_view kAttention = "attn.";
  if (!rest.starts_with(kAttention)) return {};
  rest.remove_prefix(kAttention.size());
  if (rest.size() == 3 && rest.starts_with("x_") && kMixes.find(rest[2]) != kMixes.npos) {
    return fmt::format("att.{}", rest);
  }
  if (rest.empty() || std::string_view("wavg").find(rest[0]) == std::string_view::npos) return {};
  constexpr Rename kParts[] = {
      {"_lora.lora.0.weight", "1"}, {"_lora.lora.2.weight", "2"}, {"_lora.lora.2.bias", "0"}};
  const std::string_view number = renamed(kParts, rest.substr(1));
  return number.empty() ? std::string() : fmt::format("att.{}{}", rest[0], number);
}

// "time_mix_w1.weight" is "att.w1".
std::string ggml_pattern(std::string_view rest) {
  constexpr std::string_view kPrefix = "time_mix_", kSuffix = ".weight";
  if (rest.size() != kPrefix.size() + 2 + kSuffix.size() || !rest.starts_with(kPrefix) ||
      !rest.ends_with(kSuffix)) {
    return {};
  }
  const std::string_view middle = rest.substr(kPrefix.size(), 2);
  const bool is_known = std::string_view("wavg").find(middle[0]) != std::string_view::npos &&
                        middle[1] >= '0' && middle[1] <= '2';
  return is_known ? fmt::format("att.{}", middle) : std::string();
}

std::string hugging_face_name(std::string_view name) {
  constexpr std::string_view kModel = "model.";
  if (name.starts_with(kModel)) name.remove_prefix(kModel.size());
  const auto layer = split_layer(name, "layers.");
  if (!layer) return std::string(renamed(kHuggingFaceTop, name));
  const std::string_view known = renamed(kHuggingFaceLayer, layer->second);
  const std::string rest = known.empty() ? hugging_face_pattern(layer->second) : std::string(known);
  return rest.empty() ? rest : fmt::format("blocks.{}.{}", layer->first, rest);
}

std::string ggml_name(std::string_view name) {
  const auto layer = split_layer(name, "blk.");
  if (!layer) return std::string(renamed(kGgmlTop, name));
  const std::string_view known = renamed(kGgmlLayer, layer->second);
  const std::string rest = known.empty() ? ggml_pattern(layer->second) : std::string(known);
  return rest.empty() ? rest : fmt::format("blocks.{}.{}", layer->first, rest);
}

Naming naming_of(const TensorFile& file) {
  if (file.find("token_embd.weight") != nullptr) return Naming::kGgml;
  for (const char* name : {"model.embeddings.weight", "embeddings.weight"}) {
    if (file.find(name) != nullptr) return Naming::kHuggingFace;
  }
  return Naming::kBlinkDL;
}

}  // namespace

std::string_view to_string(Naming naming) noexcept {
  switch (naming) {
    case Naming::kBlinkDL:
      return "BlinkDL";
    case Naming::kHuggingFace:
      return "Hugging Face";
    case Naming::kGgml:
      return "ggml";
  }
  return "?";
}

std::string blink_name(Naming naming, std::string_view name) {
  switch (naming) {
    case Naming::kBlinkDL:
      return std::string(name);
    case Naming::kHuggingFace:
      return hugging_face_name(name);
    case Naming::kGgml:
      return ggml_name(name);
  }
  return {};
}

std::string ggml_name_of(std::string_view name) {
  const auto original = [](std::span<const Rename> list, std::string_view to) {
    const auto found = std::find_if(list.begin(), list.end(),
                                    [&](const Rename& rename) { return rename.to == to; });
    return found == list.end() ? std::string_view() : found->from;
  };
  if (const std::string_view top = original(kGgmlTop, name); !top.empty()) return std::string(top);
  const auto layer = split_layer(name, "blocks.");
  CHECK(layer);
  const auto& [number, rest] = *layer;
  if (const std::string_view known = original(kGgmlLayer, rest); !known.empty()) {
    return fmt::format("blk.{}.{}", number, known);
  }
  const std::string result =
      fmt::format("blk.{}.time_mix_{}.weight", number, rest.substr(rest.find('.') + 1));
  CHECK(ggml_name(result) == name);
  return result;
}

Result<ModelTensors> ModelTensors::create(const TensorFile& file, const std::string& path) {
  ModelTensors result;
  result.naming_ = naming_of(file);
  for (const TensorInfo& tensor : file.tensors()) {
    SKEIN_RETURN_IF_ERROR(result.add(tensor, path));
  }
  result.tie_head();
  SKEIN_RETURN_IF_ERROR(result.sort(path));
  result.find_orientation();
  return result;
}

Status ModelTensors::add(const TensorInfo& tensor, const std::string& path) {
  std::string name = blink_name(naming_, tensor.name);
  if (name.empty()) name = tensor.name;
  if (naming_ == Naming::kBlinkDL || !name.ends_with(kFusedSuffix)) {
    tensors_.push_back(tensor);
    tensors_.back().name = std::move(name);
    return {};
  }
  const uint64_t count = kMixes.size();
  const FileBlock block = file_dtype_block(tensor.dtype);
  if (tensor.shape.empty() || tensor.shape.front() != count ||
      tensor.data.size() % (count * block.bytes) != 0) {
    return error("{}: tensor {}: expected the {} mixes of '{}', found another shape", path,
                 quote_name(tensor.name), count, kMixes);
  }
  const uint64_t part_bytes = tensor.data.size() / count;
  for (uint64_t i = 0; i < count; ++i) {
    TensorInfo part = tensor;
    part.name = name.substr(0, name.size() - 1) + kMixes[i];
    part.shape.erase(part.shape.begin());
    part.data = tensor.data.subspan(i * part_bytes, part_bytes);
    part.offset_bytes += i * part_bytes;
    tensors_.push_back(std::move(part));
  }
  return {};
}

void ModelTensors::tie_head() {
  const auto named = [&](std::string_view name) {
    return std::find_if(tensors_.begin(), tensors_.end(),
                        [&](const TensorInfo& tensor) { return tensor.name == name; });
  };
  const auto emb = named("emb.weight");
  if (emb == tensors_.end() || named("head.weight") != tensors_.end()) return;
  has_tied_head_ = true;
  TensorInfo head = *emb;
  head.name = "head.weight";
  tensors_.push_back(std::move(head));
}

Status ModelTensors::sort(const std::string& path) {
  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), size_t{0});
  std::stable_sort(by_name_.begin(), by_name_.end(),
                   [&](size_t a, size_t b) { return tensors_[a].name < tensors_[b].name; });
  for (size_t i = 1; i < by_name_.size(); ++i) {
    const std::string& name = tensors_[by_name_[i]].name;
    if (tensors_[by_name_[i - 1]].name != name) continue;
    return error("{}: expected one tensor for '{}', found two", path, name);
  }
  return {};
}

void ModelTensors::find_orientation() {
  low_rank_is_rows_ = naming_ != Naming::kBlinkDL;
  const TensorInfo* emb = find("emb.weight");
  if (emb == nullptr || emb->shape.size() != 2) return;
  const uint64_t num_emb = emb->shape[1];
  for (const TensorInfo& tensor : tensors_) {
    const auto layer = split_layer(tensor.name, "blocks.");
    if (!layer || layer->second.size() != 6 || !layer->second.starts_with("att.")) continue;
    // BlinkDL's w1 is [C][rank], w2 is [rank][C].
    const char number = layer->second[5];
    if ((number != '1' && number != '2') || tensor.shape.size() != 2) continue;
    const uint64_t inputs = tensor.shape[number == '1' ? 0 : 1];
    const uint64_t other = tensor.shape[number == '1' ? 1 : 0];
    if (inputs == other || (inputs != num_emb && other != num_emb)) continue;
    low_rank_is_rows_ = other == num_emb;
    return;
  }
}

const TensorInfo* ModelTensors::find(std::string_view name) const noexcept {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](size_t i, std::string_view want) { return tensors_[i].name < want; });
  if (found == by_name_.end() || tensors_[*found].name != name) return nullptr;
  return &tensors_[*found];
}

}  // namespace skein
