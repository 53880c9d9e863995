#include "plan/tune_model.h"

#include <algorithm>
#include <numeric>

#include "model/neurons.h"
#include "plan/backend_probe.h"
#include "plan/cache_model.h"
#include "plan/candidates.h"

namespace skein {
namespace {

// // The weights that samples read: as many as the model has, since a model that fits a cache is
// read from there; four times the largest cache are as good as more.
constexpr uint64_t kPoolCaches = 4;
constexpr uint64_t kUnknownCacheBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxPoolBytes = uint64_t{1} << 30;

constexpr uint32_t kDensityTokens = 16;

uint64_t pool_bytes(const Rwkv7& model) {
  uint64_t largest = kUnknownCacheBytes;
  if (const Result<CacheConfig> caches = read_cache_config()) {
    largest = 0;
    for (const CacheLevel& level : caches->levels) largest = std::max(largest, level.num_bytes);
  }
  return std::min({model.bytes_per_token(), kPoolCaches * largest, kMaxPoolBytes});
}

Result<double> measure_density(const Rwkv7& model) {
  std::vector<uint32_t> ids(std::min(kDensityTokens, model.dims().num_vocab));
  // Spread over the vocabulary, token 0 (the end of a text) left out where there is another.
  for (uint32_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<uint32_t>((uint64_t{i} + 1) * (model.dims().num_vocab - 1) / ids.size());
  }
  SKEIN_ASSIGN_OR_RETURN(const NeuronCounts counts, count_neurons(model, ids));
  return summarize(model, counts).density;
}

bool is_mixed(const std::vector<MatrixKind>& kinds, WeightGroup group) {
  return std::count_if(kinds.begin(), kinds.end(),
                       [&](const MatrixKind& kind) { return kind.group == group; }) > 1;
}

}  // namespace

Result<TuneReport> tune_model(const Rwkv7& model, const TuneOptions& options) {
  TuneReport report;
  std::vector<MatrixKind> kinds = matrix_kinds(model.reports());
  for (const WeightGroup group : kMatrixGroups) {
    if (is_mixed(kinds, group)) report.mixed_groups.push_back(group);
  }
  std::erase_if(kinds, [&](const MatrixKind& kind) {
    return std::find(report.mixed_groups.begin(), report.mixed_groups.end(), kind.group) !=
           report.mixed_groups.end();
  });
  SKEIN_ASSIGN_OR_RETURN(report.density, measure_density(model));
  Backend& backend = model.backend();
  SKEIN_ASSIGN_OR_RETURN(const auto probe,
                         BackendProbe::create(backend, kinds, pool_bytes(model), report.density));
  for (size_t i = 0; i < kinds.size(); ++i) {
    const auto progress = [&](double fraction) {
      if (!options.progress) return;
      options.progress((static_cast<double>(i) + fraction) / static_cast<double>(kinds.size()),
                       to_string(kinds[i].group));
    };
    progress(0);

    const std::vector<Layout> candidates = list_candidates(kinds[i], backend.kernels());
    SKEIN_ASSIGN_OR_RETURN(
        report.kinds.emplace_back(),
        tune_kind(kinds[i], candidates, *probe, options.seconds / static_cast<double>(kinds.size()),
                  progress));
  }
  report.bandwidth = probe->bandwidth();
  return report;
}

WeightPlan tuned_plan(const TuneReport& report, const WeightPlan& base) {
  WeightPlan plan = base;
  for (const TunedKind& kind : report.kinds) plan.set_layout(kind.kind.group, kind.chosen);
  return plan;
}

double total_cost(const TuneReport& report) {
  return std::accumulate(report.kinds.begin(), report.kinds.end(), 0.0,
                         [](double sum, const TunedKind& kind) { return sum + kind.cost_seconds; });
}

double total_default_cost(const TuneReport& report) {
  return std::accumulate(
      report.kinds.begin(), report.kinds.end(), 0.0,
      [](double sum, const TunedKind& kind) { return sum + kind.default_cost_seconds; });
}

PlanFile make_plan_file(const TuneReport& report) {
  PlanFile file;
  file.bandwidth_gb_s = report.bandwidth / 1e9;
  for (const TunedKind& kind : report.kinds) {
    MatrixPlan matrix{kind.kind, kind.chosen, {}};
    for (const LayoutTrial& trial : kind.trials) {
      for (const LayoutFigures& figures : trial.figures) {
        const double bytes_per_s = figures.bytes_read / figures.seconds;
        matrix.tried.push_back({trial.layout, figures.num_tokens, figures.seconds * 1e6,
                                bytes_per_s / 1e9, 100 * bytes_per_s / report.bandwidth,
                                figures.num_samples});
      }
    }
    file.matrices.push_back(std::move(matrix));
  }
  return file;
}

}  // namespace skein
