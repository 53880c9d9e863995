// profile_json() of profile_report.h.
#include "cli/profile_figures.h"
#include "cli/profile_report.h"
#include "plan/seed_estimates.h"
#include "skein/skein.h"

namespace skein::cli {
namespace {

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

// The figures that every variant has, under their names in JSON.
void add_figures(Json& json, const ProfileReport& report, const VariantFigures& figures) {
  const auto one = shown(report, figures);
  const auto value = [&](double Shown::*field) { return one ? Json((*one).*field) : Json(); };
  json["tokens_per_s"] = value(&Shown::tokens_per_s);
  json["baseline_tokens_per_s"] = one ? Json(quantile(figures.decode_baseline, 0.5)) : Json();
  json["gb_s"] = value(&Shown::gb_s);
  json["bandwidth_percent"] = value(&Shown::percent);
  json["cache_hit_percent"] = figures.cache ? Json(figures.cache->hit_percent) : Json();
  json["cache_source"] =
      figures.cache ? Json(figures.cache->is_simulated ? "simulated" : "counters") : Json();
}

void add_ratio(Json& json, const std::string& name, const std::optional<Ratio>& ratio) {
  json[name] = ratio ? Json(ratio->median) : Json();
  json[name + "_quartiles"] = ratio ? Json::array({ratio->low, ratio->high}) : Json();
}

// More of the same: ratios, prefill, levels, memory.
void add_details(Json& json, const ProfileReport& report, const VariantFigures& figures) {
  const auto one = shown(report, figures);
  add_ratio(json, "ratio", one ? std::optional(one->decode) : std::nullopt);
  json["prefill_tokens_per_s"] = one ? Json(one->prefill_tokens_per_s) : Json();
  json["prefill_baseline_tokens_per_s"] =
      one ? Json(quantile(figures.prefill_baseline, 0.5)) : Json();
  add_ratio(json, "prefill_ratio", one ? std::optional(one->prefill) : std::nullopt);
  json["rounds"] = figures.decode.size();
  json["bytes_per_token"] = figures.bytes_per_token;
  json["padding_bytes"] = figures.padding_bytes;
  json["plan"] = figures.variant.plan.text();
  if (figures.cache) {
    Json levels = Json::object();
    for (const auto& level : figures.cache->levels) levels[level.name] = level.hit_percent;
    json["cache_levels_hit_percent"] = std::move(levels);
    json["memory_bytes_per_token"] = optional_json(figures.cache->memory_bytes);
  }
  if (!figures.skipped.empty()) json["skipped"] = figures.skipped;
}

Json variant_json(const std::string& name, const ProfileReport& report,
                  const VariantFigures& figures) {
  Json json;
  json["name"] = name;
  add_figures(json, report, figures);
  add_details(json, report, figures);
  return json;
}

Json ideas_json(const ProfileReport& report) {
  Json ideas = Json::array();
  for (const IdeaRow& row : report.experiment.ideas) {
    const SeedEstimate& seed = seed_estimate(row.idea);
    const VariantFigures& alone = report.variants[row.alone];
    Json json;
    json["name"] = seed.key;
    add_figures(json, report, alone);
    json["seed_bandwidth_percent"] =
        Json::array({seed.bandwidth_low_percent, seed.bandwidth_high_percent});
    json["seed_cache_percent"] = seed.cache_percent;
    add_details(json, report, alone);
    const VariantFigures& added = report.variants[row.added];
    json["added"] = variant_json(added.variant.name, report, added);
    json["added"]["replaces"] = row.replaces.empty() ? Json() : Json(row.replaces);
    ideas.push_back(std::move(json));
  }
  return ideas;
}

Json extras_json(const ProfileReport& report) {
  const auto at = [&](size_t index) -> const VariantFigures& { return report.variants[index]; };
  Json sparse = variant_json("sparse_ffn", report, at(report.experiment.sparse_alone));
  sparse["added"] = variant_json("sparse_ffn added", report, at(report.experiment.sparse_added));
  return Json::array(
      {std::move(sparse), variant_json("default", report, at(report.experiment.skein_default))});
}

Json ops_json(const ProfileReport& report) {
  Json ops = Json::array();
  for (const VariantFigures& figures : report.variants) {
    for (const StepFigures& step : figures.steps) {
      const double bytes_per_s = step.decode_us > 0 ? step.bytes / step.decode_us * 1e6 : 0;
      Json json;
      json["variant"] = figures.variant.name;
      json["op"] = to_string(step.step);
      json["decode_us"] = step.decode_us;
      json["prefill_us"] = step.prefill_us;
      json["bytes_per_token"] = step.bytes;
      json["gb_s"] = bytes_per_s / 1e9;
      json["bandwidth_percent"] = 100 * bytes_per_s / report.bandwidth;
      json["cache_hit_percent"] = optional_json(step.hit_percent);
      ops.push_back(std::move(json));
    }
  }
  return ops;
}

}  // namespace

Json profile_json(const ProfileReport& report, const Machine& machine, const std::string& model) {
  Json json;
  json["version"] = version();
  json["machine"] = to_json(machine);
  json["model"] = model;
  json["backend"] = report.device;
  json["threads"] = report.num_threads;
  json["tokens"] = report.num_decode;
  json["prefill"] = report.num_prefill;
  json["bandwidth_gb_s"] = report.bandwidth / 1e9;
  json["ffn_zero_percent"] = report.zero_percent;
  json["baseline"] = variant_json("baseline", report, report.variants.front());
  json["ideas"] = ideas_json(report);
  json["extras"] = extras_json(report);
  json["layouts"] = Json::array();
  for (const size_t index : report.experiment.layouts) {
    const VariantFigures& figures = report.variants[index];
    json["layouts"].push_back(variant_json(layout_name(figures), report, figures));
  }
  json["ops"] = ops_json(report);
  json["notes"] = profile_notes(report);
  return json;
}

}  // namespace skein::cli
