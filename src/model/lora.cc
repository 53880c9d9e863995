#include "model/lora.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/hash.h"
#include "format/safetensors_header.h"
#include "model/dimensions.h"
#include "model/plain_tensor.h"
#include "tensor/pack_kernels.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

enum class Role : uint8_t { kA, kB, kWhole };

struct Key {
  std::string weight;  // BlinkDL's name; empty: not known
  Role role = Role::kWhole;
};

// Takes `suffix` off the end of `name`, if it is there.
bool strip(std::string_view& name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return false;
  name.remove_suffix(suffix.size());
  return true;
}

std::string blink_name_of(std::string_view name) {
  const bool is_blink = name.starts_with("blocks.") || name.starts_with("emb.") ||
                        name.starts_with("head.") || name.starts_with("ln_out.");
  return is_blink ? std::string(name) : blink_name(Naming::kHuggingFace, name);
}

Key parse_key(std::string_view name) {
  constexpr std::string_view kPrefix = "base_model.model.";
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  for (const std::string_view suffix :
       {".lora_A.default.weight", ".lora_A.weight", ".lora_A", ".lora.0"}) {
    if (strip(name, suffix)) return {blink_name_of(fmt::format("{}.weight", name)), Role::kA};
  }
  for (const std::string_view suffix :
       {".lora_B.default.weight", ".lora_B.weight", ".lora_B", ".lora.1"}) {
    if (strip(name, suffix)) return {blink_name_of(fmt::format("{}.weight", name)), Role::kB};
  }
  return {blink_name_of(name), Role::kWhole};
}

// alpha / rank as PEFT's configuration has it, for any rank.
struct Scaling {
  double alpha = 0;
  bool is_root = false;  // alpha / sqrt(rank)

  double of(uint64_t rank) const {
    const auto r = static_cast<double>(rank);
    return alpha / (is_root ? std::sqrt(r) : r);
  }
};

// Of the adapter_config.json beside `path`; nothing where there is none.
Result<std::optional<Scaling>> read_scaling(const fs::path& path) {
  const std::string config = (path.parent_path() / "adapter_config.json").string();
  std::error_code ignored;
  if (!fs::exists(config, ignored)) return std::optional<Scaling>();
  SKEIN_ASSIGN_OR_RETURN(const std::string text, read_text_file(config, kMaxConfigBytes));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return error("{}: expected a JSON object, found other text", config);
  const auto flag = [&](const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_boolean() && found->get<bool>();
  };
  const auto kind = json.find("peft_type");
  if (kind != json.end() && *kind != "LORA") {
    return error("{}: expected the peft_type LORA, found {}", config, quote_name(kind->dump()));
  }
  if (flag("use_dora")) return error("{}: expected LoRA, found DoRA", config);
  const auto pattern = json.find("alpha_pattern");
  if (pattern != json.end() && !pattern->empty()) {
    return error("{}: expected one lora_alpha for all, found an alpha_pattern", config);
  }
  const auto alpha = json.find("lora_alpha");
  if (alpha == json.end() || !alpha->is_number()) {
    return error("{}: expected a number lora_alpha, found none", config);
  }
  return std::optional(Scaling{alpha->get<double>(), flag("use_rslora")});
}

// The values of a tensor of rows x cols, or of cols x rows where is_transposed, as rows x cols.
std::vector<float> values_of(const TensorInfo& tensor, uint64_t rows, uint64_t cols,
                             bool is_transposed, ThreadPool& pool) {
  std::vector<std::byte> room;
  const PlainTensor plain = read_plain(tensor, DType::kF32, room, pool);
  std::vector<float> values(rows * cols);
  auto* bytes = reinterpret_cast<std::byte*>(values.data());
  if (plain.dtype == DType::kF32) {
    std::memcpy(bytes, plain.bytes.data(), plain.bytes.size());
  } else {
    convert_run(plain.bytes.data(), plain.dtype, bytes, DType::kF32, values.size());
  }
  if (!is_transposed) return values;
  std::vector<float> turned(values.size());
  for (uint64_t row = 0; row < rows; ++row) {
    for (uint64_t col = 0; col < cols; ++col) turned[row * cols + col] = values[col * rows + row];
  }
  return turned;
}

constexpr uint64_t kRowsAtOnce = 4;

// sums += factors[i] * row i of `rows`, up to four rows, so that sums is read and written once for
// four of them.
void add_rows(const float* factors, const float* rows, uint64_t count, std::span<float> sums) {
  const uint64_t cols = sums.size();
  if (count < kRowsAtOnce) {
    for (uint64_t i = 0; i < count; ++i) {
      for (uint64_t col = 0; col < cols; ++col) sums[col] += factors[i] * rows[i * cols + col];
    }
    return;
  }
  const float f0 = factors[0], f1 = factors[1], f2 = factors[2], f3 = factors[3];
  const float *r0 = rows, *r1 = r0 + cols, *r2 = r1 + cols, *r3 = r2 + cols;
  for (uint64_t col = 0; col < cols; ++col) {
    sums[col] += f0 * r0[col] + f1 * r1[col] + f2 * r2[col] + f3 * r3[col];
  }
}

// The rank, where two axes are `extent` and something else; `turned` says that the rank is last.
std::optional<uint64_t> rank_of(const TensorInfo& tensor, uint64_t extent, bool rank_last,
                                bool& is_turned) {
  if (tensor.shape.size() != 2) return std::nullopt;
  const uint64_t first = tensor.shape[0], last = tensor.shape[1];
  const bool as_named = rank_last ? first == extent : last == extent;
  const bool turned = rank_last ? last == extent : first == extent;
  if (!as_named && !turned) return std::nullopt;
  is_turned = !as_named;
  return as_named == rank_last ? last : first;
}

}  // namespace

Result<LoraChoice> parse_lora_choice(std::string_view text) {
  LoraChoice choice{std::string(text), 1};
  const size_t equals = text.rfind('=');
  if (equals != std::string_view::npos) {
    const std::string_view number = text.substr(equals + 1);
    double weight = 0;
    const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), weight);
    if (code == std::errc() && end == number.data() + number.size() && !number.empty()) {
      choice = {std::string(text.substr(0, equals)), weight};
    }
  }
  if (choice.path.empty() || !std::isfinite(choice.weight)) {
    return error("lora: expected FILE or FILE=WEIGHT, found '{}'", text);
  }
  return choice;
}

Result<std::shared_ptr<const LoraSet>> LoraSet::load(std::span<const LoraChoice> choices,
                                                     const ModelFile& model) {
  Weights unused;
  const std::vector<WeightSpec> list = list_weights(model.dims(), unused);
  std::map<std::string, const WeightSpec*> specs;
  for (const WeightSpec& spec : list) {
    for (const std::string& name : spec.names) specs[name] = &spec;
  }
  std::shared_ptr<LoraSet> set(new LoraSet);
  for (const LoraChoice& choice : choices) {
    SKEIN_RETURN_IF_ERROR(set->add_file(choice, specs));
  }
  return std::shared_ptr<const LoraSet>(std::move(set));
}

Status LoraSet::add_file(const LoraChoice& choice, const Specs& specs) {
  std::error_code ignored;
  const bool is_folder = fs::is_directory(choice.path, ignored);
  const std::string path =
      is_folder ? (fs::path(choice.path) / "adapter_model.safetensors").string() : choice.path;
  SKEIN_ASSIGN_OR_RETURN(TensorFile opened, TensorFile::open(path));
  files_.push_back(std::make_shared<const TensorFile>(std::move(opened)));
  SKEIN_ASSIGN_OR_RETURN(const std::optional<Scaling> scaling, read_scaling(path));
  hash_ = hash64(std::as_bytes(std::span(&choice.weight, 1)), hash_);
  std::map<std::string, Change> found;
  for (const TensorInfo& tensor : files_.back()->tensors()) {
    SKEIN_RETURN_IF_ERROR(add_tensor(tensor, path, specs, found));
  }
  uint64_t num_matrices = 0;
  for (auto& [name, change] : found) {
    change.scale = choice.weight;
    if (change.rank != 0) {
      if (change.a == nullptr || change.b == nullptr) {
        return error("{}: expected both halves of the change of '{}', found one", path, name);
      }
      if (scaling) change.scale *= scaling->of(change.rank);
      ++num_matrices;
    }
    hash_ = hash64(std::as_bytes(std::span(&change.scale, 1)), hash_);
    changes_[name].push_back(change);
  }
  if (!scaling && num_matrices != 0) {
    warnings_.push_back(
        fmt::format("{}: no adapter_config.json beside it: {} matrices change by weight {} with "
                    "alpha / rank = 1",
                    path, num_matrices, choice.weight));
  }
  return {};
}

Status LoraSet::add_tensor(const TensorInfo& tensor, const std::string& path, const Specs& specs,
                           std::map<std::string, Change>& found) {
  const std::string quoted = quote_name(tensor.name);
  const Key key = parse_key(tensor.name);
  const auto spec = specs.find(key.weight);
  if (spec == specs.end() || spec->second->group == WeightGroup::kEmbedding) {
    return error("{}: tensor {}: expected a change of a matrix or vector of the model, found {}",
                 path, quoted,
                 spec == specs.end() ? "one of something else" : "one of its embedding");
  }
  const WeightSpec& weight = *spec->second;
  const uint64_t rows = weight.rows / weight.names.size();
  const std::optional<DType> dtype = plain_dtype(tensor.dtype);
  if (!dtype) {
    return error("{}: tensor {}: expected dtype F32, F16 or BF16, found {}", path, quoted,
                 file_dtype_name(tensor.dtype));
  }
  Change& change = found[key.weight];
  const TensorInfo*& place = key.role == Role::kB ? change.b : change.a;
  if (place != nullptr) {
    return error("{}: tensor {}: expected one change of '{}', found two", path, quoted, key.weight);
  }
  place = &tensor;
  if (key.role == Role::kWhole) {
    uint64_t num_elems = 1;
    for (const uint64_t extent : tensor.shape) num_elems *= extent;
    if (weight.group != WeightGroup::kVector || num_elems != weight.cols) {
      return error("{}: tensor {}: expected a low-rank change or a vector, found {}", path, quoted,
                   shape_text(tensor.shape));
    }
  } else {
    const auto rank = key.role == Role::kA ? rank_of(tensor, weight.cols, false, change.a_is_cols)
                                           : rank_of(tensor, rows, true, change.b_is_rank);
    if (!rank || *rank == 0 || (change.rank != 0 && change.rank != *rank)) {
      return error("{}: tensor {}: expected {} and one rank for both halves, found {}", path,
                   quoted,
                   key.role == Role::kA ? fmt::format("[rank, {}]", weight.cols)
                                        : fmt::format("[{}, rank]", rows),
                   shape_text(tensor.shape));
    }
    change.rank = *rank;
  }
  const std::string head = fmt::format("{} {}", tensor.name, shape_text(tensor.shape));
  hash_ = hash64(std::as_bytes(std::span(head)), hash_);
  hash_ = hash64(tensor.data.first(std::min<size_t>(tensor.data.size(), 64)), hash_);
  return {};
}

void LoraSet::apply(std::string_view name, uint64_t rows, uint64_t cols, bool is_transposed,
                    std::span<float> values, ThreadPool& pool) const {
  const auto found = changes_.find(name);
  if (found == changes_.end()) return;
  for (const Change& change : found->second) {
    const auto scale = static_cast<float>(change.scale);
    if (change.rank == 0) {
      const std::vector<float> target = values_of(*change.a, 1, cols, false, pool);
      for (uint64_t i = 0; i < cols; ++i) values[i] += scale * (target[i] - values[i]);
      continue;
    }
    const uint64_t rank = change.rank;
    const auto a = values_of(*change.a, rank, cols, change.a_is_cols, pool);
    const auto b = values_of(*change.b, rows, rank, change.b_is_rank, pool);
    pool.run([&](uint32_t thread) {
      const Range range = share_of(rows, 1, thread, pool.num_threads());
      std::vector<float> sums(cols);
      for (uint64_t row = range.begin; row < range.end; ++row) {
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (uint64_t k = 0; k < rank; k += kRowsAtOnce) {
          add_rows(b.data() + row * rank + k, a.data() + k * cols, std::min(kRowsAtOnce, rank - k),
                   sums);
        }
        const uint64_t begin = is_transposed ? row : row * cols, step = is_transposed ? rows : 1;
        for (uint64_t col = 0; col < cols; ++col) values[begin + col * step] += scale * sums[col];
      }
    });
  }
}

Result<std::shared_ptr<const LoraSet>> load_lora(std::span<const std::string> choices,
                                                 const ModelFile& model) {
  if (choices.empty()) return std::shared_ptr<const LoraSet>();
  std::vector<LoraChoice> parsed;
  for (const std::string& text : choices) {
    SKEIN_ASSIGN_OR_RETURN(LoraChoice choice, parse_lora_choice(text));
    parsed.push_back(std::move(choice));
  }
  return LoraSet::load(parsed, model);
}

}  // namespace skein
