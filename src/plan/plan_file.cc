#include "plan/plan_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "model/dimensions.h"
#include "plan/plan_reader.h"

namespace skein {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "skein-plan";
constexpr uint32_t kVersion = 1;

// Nothing that a plan holds lies deeper: file, matrices, one of them, tried, one of them, a member.
constexpr size_t kMaxDepth = 8;
constexpr size_t kMaxEntries = 10'000;  // of each list
constexpr uint32_t kMaxPlanTokens = 1u << 20;
constexpr double kMaxFigure = 1e12;  // hundredths of it are exact

// What fits into a line stays on one; the rest is a member a line.
void print(const Json& value, size_t indent, std::string& out) {
  constexpr size_t kLineLength = 160;
  std::string line = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (!value.is_structured() || indent + line.size() <= kLineLength) {
    out += line;
    return;
  }
  out += value.is_object() ? "{\n" : "[\n";
  size_t left = value.size();
  for (const auto& [key, member] : value.items()) {
    out.append(indent + 2, ' ');
    if (value.is_object()) out += Json(key).dump() + ": ";
    print(member, indent + 2, out);
    out += --left == 0 ? "\n" : ",\n";
  }
  out.append(indent, ' ');
  out += value.is_object() ? "}" : "]";
}

// Two digits behind the point are more than any clock gives.
double figure(double value) { return std::round(value * 100) / 100; }

Json key_json(const PlanKey& key) {
  Json json = {{"backend", key.backend}, {"device", key.device}, {"precision", key.precision}};
  if (key.num_cores == 0) {
    json["features"] = key.features;
  } else {
    json["cores"] = key.num_cores;
    json["caches"] = key.caches;
  }
  return json;
}

// For each number of tokens the layout that was fastest.
Json fastest_json(const MatrixPlan& matrix) {
  Json json = Json::object();
  std::vector<const TriedLayout*> best;
  for (const TriedLayout& tried : matrix.tried) {
    const auto same = std::find_if(best.begin(), best.end(), [&](const TriedLayout* other) {
      return other->num_tokens == tried.num_tokens;
    });
    if (same == best.end()) {
      best.push_back(&tried);
    } else if (tried.microseconds < (*same)->microseconds) {
      *same = &tried;
    }
  }
  for (const TriedLayout* tried : best) {
    std::string text = to_string(tried->layout);
    if (!tried->form.is_auto()) text += fmt::format(" {}", to_string(tried->form));
    json[fmt::format("{} token{}", tried->num_tokens, tried->num_tokens == 1 ? "" : "s")] = text;
  }
  return json;
}

Json matrix_json(const MatrixPlan& matrix) {
  Json json;
  json["group"] = to_string(matrix.kind.group);
  json["type"] = to_string(matrix.kind.dtype);
  json["shapes"] = Json::array();
  for (const MatrixShape& shape : matrix.kind.shapes) {
    json["shapes"].push_back({{"rows", shape.rows}, {"cols", shape.cols}, {"count", shape.count}});
  }
  json["layout"] = to_string(matrix.layout);
  if (!matrix.form.is_auto()) json["form"] = to_string(matrix.form);
  json["fastest"] = fastest_json(matrix);
  json["tried"] = Json::array();
  for (const TriedLayout& tried : matrix.tried) {
    Json entry = {{"layout", to_string(tried.layout)}};
    if (!tried.form.is_auto()) entry["form"] = to_string(tried.form);
    entry["tokens"] = tried.num_tokens;
    entry["microseconds"] = figure(tried.microseconds);
    entry["gb_s"] = figure(tried.gb_s);
    entry["bandwidth_percent"] = figure(tried.bandwidth_percent);
    entry["samples"] = tried.num_samples;
    json["tried"].push_back(std::move(entry));
  }
  return json;
}

Json check_json(const PlanCheck& check) {
  return {{"model", check.model},
          {"default_decode", figure(check.default_decode)},
          {"tuned_decode", figure(check.tuned_decode)},
          {"default_prefill", figure(check.default_prefill)},
          {"tuned_prefill", figure(check.tuned_prefill)}};
}

PlanKey read_key(const PlanReader& json) {
  json.only({"backend", "device", "precision", "cores", "caches", "features"});
  PlanKey key;
  key.backend = json["backend"].text();
  key.device = json["device"].text();
  key.precision = json["precision"].text();
  if (json.has("features")) {
    for (const PlanReader& feature : json["features"].list(kMaxEntries)) {
      key.features.push_back(feature.text());
    }
    return key;
  }
  key.num_cores = static_cast<uint32_t>(json["cores"].whole(1, 1u << 20));
  for (const PlanReader& cache : json["caches"].list(kMaxEntries)) {
    key.caches.push_back(cache.text());
  }
  return key;
}

MatrixKind read_kind(const PlanReader& json) {
  MatrixKind kind;
  kind.group = json["group"].parsed<WeightGroup>([](std::string_view text) -> Result<WeightGroup> {
    for (const WeightGroup group : kMatrixGroups) {
      if (text == to_string(group)) return group;
    }
    return error("expected att, low_rank, ffn.key, ffn.value or head, found '{}'", text);
  });
  kind.dtype = json["type"].parsed<DType>(parse_dtype);
  for (const PlanReader& entry : json["shapes"].list(kMaxEntries)) {
    entry.only({"rows", "cols", "count"});
    kind.shapes.push_back({entry["rows"].whole(1, kMaxNumVocab),
                           entry["cols"].whole(1, kMaxNumVocab),
                           static_cast<uint32_t>(entry["count"].whole(1, kMaxEntries))});
  }
  sort_shapes(kind.shapes);
  return kind;
}

// Only where it is not the backend's own rule.
KernelForm read_form(const PlanReader& json) {
  return json.has("form") ? json["form"].parsed<KernelForm>(parse_form) : KernelForm();
}

TriedLayout read_tried(const PlanReader& json) {
  json.only({"layout", "form", "tokens", "microseconds", "gb_s", "bandwidth_percent", "samples"});
  TriedLayout tried;
  tried.layout = json["layout"].parsed<Layout>(parse_layout);
  tried.form = read_form(json);
  tried.num_tokens = static_cast<uint32_t>(json["tokens"].whole(1, kMaxPlanTokens));
  tried.microseconds = json["microseconds"].number(kMaxFigure);
  tried.gb_s = json["gb_s"].number(kMaxFigure);
  tried.bandwidth_percent = json["bandwidth_percent"].number(kMaxFigure);
  tried.num_samples = static_cast<uint32_t>(json["samples"].whole(0, UINT32_MAX));
  return tried;
}

MatrixPlan read_matrix(const PlanReader& json) {
  json.only({"group", "type", "shapes", "layout", "form", "fastest", "tried"});
  MatrixPlan matrix;
  matrix.kind = read_kind(json);
  matrix.layout = json["layout"].parsed<Layout>(parse_layout);
  matrix.form = read_form(json);
  for (const PlanReader& tried : json["tried"].list(kMaxEntries)) {
    matrix.tried.push_back(read_tried(tried));
  }
  return matrix;
}

PlanCheck read_check(const PlanReader& json) {
  json.only({"model", "default_decode", "tuned_decode", "default_prefill", "tuned_prefill"});
  return {json["model"].text(), json["default_decode"].number(kMaxFigure),
          json["tuned_decode"].number(kMaxFigure), json["default_prefill"].number(kMaxFigure),
          json["tuned_prefill"].number(kMaxFigure)};
}

PlanFile read_file(const PlanReader& json) {
  PlanFile file;
  // Format and version first: a later version may have other members.
  json["format"].parsed<int>([](std::string_view text) -> Result<int> {
    if (text == kFormat) return 0;
    return error("expected '{}', found '{}'", kFormat, text);
  });
  json["version"].whole(kVersion, kVersion);
  json.only({"format", "version", "skein", "date", "device", "bandwidth_gb_s", "activations",
             "placement", "matrices", "checks"});
  file.version = json["skein"].text();
  file.date = json["date"].text();
  file.key = read_key(json["device"]);
  file.bandwidth_gb_s = json["bandwidth_gb_s"].number(kMaxFigure);
  file.activations = json["activations"].parsed<ActivationLayout>(parse_activations);
  file.placement = json["placement"].parsed<Placement>(parse_placement);
  for (const PlanReader& matrix : json["matrices"].list(kMaxEntries)) {
    file.matrices.push_back(read_matrix(matrix));
  }
  for (const PlanReader& check : json["checks"].list(kMaxEntries)) {
    file.checks.push_back(read_check(check));
  }
  return file;
}

}  // namespace

const MatrixPlan* PlanFile::find(const MatrixKind& kind) const noexcept {
  const auto found = std::find_if(matrices.begin(), matrices.end(), [&](const MatrixPlan& matrix) {
    return matrix.kind.group == kind.group && matrix.kind.dtype == kind.dtype &&
           same_shapes(matrix.kind.shapes, kind.shapes);
  });
  return found == matrices.end() ? nullptr : &*found;
}

void PlanFile::merge(const PlanFile& newer) {
  std::vector<MatrixPlan> merged = newer.matrices;
  for (MatrixPlan& matrix : matrices) {
    if (newer.find(matrix.kind) == nullptr) merged.push_back(std::move(matrix));
  }
  std::vector<PlanCheck> merged_checks = newer.checks;
  for (PlanCheck& check : checks) {
    const bool again =
        std::any_of(newer.checks.begin(), newer.checks.end(),
                    [&](const PlanCheck& other) { return other.model == check.model; });
    if (!again) merged_checks.push_back(std::move(check));
  }
  *this = newer;
  matrices = std::move(merged);
  checks = std::move(merged_checks);
}

std::string to_text(const PlanFile& file) {
  Json json;
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["skein"] = file.version;
  json["date"] = file.date;
  json["device"] = key_json(file.key);
  json["bandwidth_gb_s"] = figure(file.bandwidth_gb_s);
  json["activations"] = to_string(file.activations);
  json["placement"] = to_string(file.placement);
  json["matrices"] = Json::array();
  for (const MatrixPlan& matrix : file.matrices) json["matrices"].push_back(matrix_json(matrix));
  json["checks"] = Json::array();
  for (const PlanCheck& check : file.checks) json["checks"].push_back(check_json(check));
  std::string text;
  print(json, 0, text);
  return text + "\n";
}

Result<PlanFile> parse_plan_file(std::string_view text, const std::string& name) {
  SKEIN_ASSIGN_OR_RETURN(const Json json, parse_shallow_json(text, name, kMaxDepth));
  std::optional<Error> first_error;
  PlanFile file = read_file(PlanReader(json, name, "", first_error));
  if (first_error) return tl::unexpected(*std::move(first_error));
  return file;
}

Result<PlanFile> read_plan_file(const std::string& path) {
  SKEIN_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, PlanFile::kMaxBytes));
  return parse_plan_file(text, path);
}

Status write_plan_file(const PlanFile& file, const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code failure;
  if (!folder.empty()) std::filesystem::create_directories(folder, failure);
  if (failure) return error("{}: cannot make the folder: {}", folder.string(), failure.message());
  const std::string text = to_text(file);
  return write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace skein
