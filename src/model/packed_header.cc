#include "model/packed_header.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>
#include <span>
#include <utility>

#include "base/hash.h"
#include "format/safetensors_header.h"
#include "model/dimensions.h"

namespace skein {
namespace {

constexpr std::string_view kWeightPrefix = "weight.";

// Of "a=1 b=2" the values, where the names are exactly those in `names`, in order, with one space
// between. A value has no space.
template <size_t n>
std::optional<std::array<std::string_view, n>> split_fields(
    std::string_view text, const std::array<std::string_view, n>& names) {
  std::array<std::string_view, n> values;
  for (size_t i = 0; i < n; ++i) {
    if (!text.starts_with(names[i])) return std::nullopt;
    text.remove_prefix(names[i].size());
    if (!text.starts_with('=')) return std::nullopt;
    text.remove_prefix(1);
    const size_t end = i + 1 == n ? text.size() : text.find(' ');
    if (end == std::string_view::npos) return std::nullopt;
    values[i] = text.substr(0, end);
    if (values[i].find(' ') != std::string_view::npos) return std::nullopt;
    text.remove_prefix(i + 1 == n ? end : end + 1);
  }
  return values;
}

// All of `text`, without sign or leading zeros: the one way in which the number prints.
template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc() || rest != end || fmt::format("{}", number) != text) return std::nullopt;
  return number;
}

std::optional<uint64_t> parse_hash(std::string_view text) {
  uint64_t hash = 0;
  const char* end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, hash, 16);
  if (code != std::errc() || rest != end || hash_text(hash) != text) return std::nullopt;
  return hash;
}

constexpr std::array<std::string_view, 8> kDimensionNames = {
    "layers", "emb", "hidden", "vocab", "rank_w", "rank_a", "rank_v", "rank_g"};

std::string dimensions_text(const Dimensions& dims) {
  return fmt::format("layers={} emb={} hidden={} vocab={} rank_w={} rank_a={} rank_v={} rank_g={}",
                     dims.num_layers, dims.num_emb, dims.num_hidden, dims.num_vocab, dims.rank_w,
                     dims.rank_a, dims.rank_v, dims.rank_g);
}

std::optional<Dimensions> parse_dimensions(std::string_view text) {
  const auto fields = split_fields(text, kDimensionNames);
  if (!fields) return std::nullopt;
  std::array<uint32_t, kDimensionNames.size()> numbers{};
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto number = parse_number<uint32_t>((*fields)[i]);
    if (!number) return std::nullopt;
    numbers[i] = *number;
  }
  Dimensions dims;
  dims.num_layers = numbers[0];
  dims.num_emb = numbers[1];
  dims.num_hidden = numbers[2];
  dims.num_vocab = numbers[3];
  dims.rank_w = numbers[4];
  dims.rank_a = numbers[5];
  dims.rank_v = numbers[6];
  dims.rank_g = numbers[7];
  dims.num_heads = dims.num_emb / kHeadSize;
  dims.head_size = kHeadSize;
  return dims;
}

constexpr std::array<std::string_view, 5> kWeightFields = {"dtype", "from", "shape", "layout",
                                                           "xxh3"};

std::string weight_text(const PackedWeight& weight) {
  return fmt::format("dtype={} from={} shape={}x{} layout={} xxh3={}", to_string(weight.dtype),
                     to_string(weight.file_dtype), weight.rows, weight.cols,
                     to_string(weight.layout), hash_text(weight.checksum));
}

std::optional<PackedWeight> parse_weight(std::string_view text) {
  const auto fields = split_fields(text, kWeightFields);
  if (!fields) return std::nullopt;
  const auto& [dtype_text, from_text, shape_text, layout_text, checksum_text] = *fields;
  const auto dtype = parse_dtype(dtype_text);
  const auto from = parse_dtype(from_text);
  const auto layout = parse_layout(layout_text);
  const auto checksum = parse_hash(checksum_text);
  const size_t cross = shape_text.find('x');
  if (!dtype || !from || !layout || !checksum || cross == std::string_view::npos) {
    return std::nullopt;
  }
  // Files have no codecs but ggml's.
  if (is_quantized(*from) && !is_ggml_codec(*from)) return std::nullopt;
  const auto rows = parse_number<uint64_t>(shape_text.substr(0, cross));
  const auto cols = parse_number<uint64_t>(shape_text.substr(cross + 1));
  if (!rows || !cols) return std::nullopt;
  return PackedWeight{*dtype, *from, *rows, *cols, *layout, *checksum};
}

// The layouts that the plan names, as parse_weight_plan() reads them, and those that the backend
// asked for: a reader knows default_layout() only.
std::string named_layouts(const WeightPlan& plan) {
  std::string text;
  for (const WeightGroup group : kMatrixGroups) {
    const DType dtype = plan.group_dtype(group);
    const Layout layout = plan.layout_of(group, dtype);
    if (!plan.names_layout(group) && layout == default_layout(group, dtype)) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", to_string(group), to_string(layout));
  }
  return text;
}

// Reads the entries of one file's metadata.
class HeaderReader {
 public:
  HeaderReader(const Metadata& metadata, const std::string& path)
      : metadata_(metadata), path_(path) {}

  Result<PackedHeader> read() {
    SKEIN_ASSIGN_OR_RETURN(const std::string_view version, find(kPackedKey));
    if (version != kPackedVersion) {
      return error(
          "{}: expected a packed model of version {}, found version {}; pack it anew with this "
          "skein",
          path_, kPackedVersion, quote_name(version));
    }
    PackedHeader header;
    SKEIN_ASSIGN_OR_RETURN(const std::string_view dims, find("dimensions"));
    const auto parsed_dims = parse_dimensions(dims);
    if (!parsed_dims) return refuse("dimensions", "as \"layers=6 emb=256 ...\"", dims);
    header.dims = *parsed_dims;
    SKEIN_RETURN_IF_ERROR(check_dimensions(header.dims, path_));
    SKEIN_RETURN_IF_ERROR(read_plan(header.plan));
    SKEIN_ASSIGN_OR_RETURN(const std::string_view neurons, find("neurons"));
    if (neurons != "file" && neurons != "reordered") {
      return refuse("neurons", "file or reordered", neurons);
    }
    header.reordered_neurons = neurons == "reordered";
    SKEIN_ASSIGN_OR_RETURN(const std::string_view source, find("source"));
    header.source = source;
    SKEIN_ASSIGN_OR_RETURN(const std::string_view hash, find("source_hash"));
    const auto parsed_hash = parse_hash(hash);
    if (!parsed_hash) return refuse("source_hash", "of 16 hexadecimal digits", hash);
    header.source_hash = *parsed_hash;
    SKEIN_RETURN_IF_ERROR(read_weights(header));
    return header;
  }

 private:
  Result<std::string_view> find(std::string_view name) const {
    const auto found = metadata_.find(std::string(name));
    if (found != metadata_.end()) return std::string_view(found->second);
    return error("{}: expected metadata '{}' of a packed model, found none", path_, name);
  }

  tl::unexpected<Error> refuse(std::string_view name, std::string_view expected,
                               std::string_view found) const {
    return error("{}: metadata {}: expected them {}, found {}", path_, quote_name(name), expected,
                 quote_name(found));
  }

  Status read_plan(WeightPlan& plan) const {
    SKEIN_ASSIGN_OR_RETURN(const std::string_view layout, find("layout"));
    SKEIN_ASSIGN_OR_RETURN(const std::string_view quant, find("quant"));
    SKEIN_ASSIGN_OR_RETURN(const std::string_view activations, find("activations"));
    const auto with_layouts = parse_weight_plan(layout);
    if (!with_layouts) return refuse("layout", "as \"att=row_major,...\"", layout);
    auto with_quant = parse_quant(quant, *with_layouts);
    if (!with_quant) return refuse("quant", "as \"att=int8,...\"", quant);
    const auto parsed_activations = parse_activations(activations);
    if (!parsed_activations) return refuse("activations", "packed or separate", activations);
    plan = *std::move(with_quant);
    plan.activations = *parsed_activations;
    return {};
  }

  Status read_weights(PackedHeader& header) const {
    for (auto entry = metadata_.lower_bound(std::string(kWeightPrefix));
         entry != metadata_.end() && entry->first.starts_with(kWeightPrefix); ++entry) {
      const auto& [name, text] = *entry;
      const auto weight = parse_weight(text);
      if (!weight) {
        return refuse(name, "as \"dtype=... from=... shape=RxC layout=... xxh3=...\"", text);
      }
      header.weights.emplace(name.substr(kWeightPrefix.size()), *weight);
    }
    return {};
  }

  const Metadata& metadata_;
  const std::string& path_;
};

}  // namespace

bool is_packed(const Metadata& metadata) { return metadata.contains(std::string(kPackedKey)); }

Metadata to_metadata(const PackedHeader& header) {
  Metadata metadata = {{std::string(kPackedKey), std::string(kPackedVersion)},
                       {"dimensions", dimensions_text(header.dims)},
                       {"layout", named_layouts(header.plan)},
                       {"quant", header.plan.quant_text()},
                       {"activations", std::string(to_string(header.plan.activations))},
                       {"neurons", header.reordered_neurons ? "reordered" : "file"},
                       {"plan", header.plan.text()},
                       {"source", header.source},
                       {"source_hash", hash_text(header.source_hash)}};
  for (const auto& [label, weight] : header.weights) {
    metadata.emplace(fmt::format("{}{}", kWeightPrefix, label), weight_text(weight));
  }
  return metadata;
}

Result<PackedHeader> parse_packed_header(const Metadata& metadata, const std::string& path) {
  return HeaderReader(metadata, path).read();
}

}  // namespace skein
