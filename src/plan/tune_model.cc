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

// The layouts have this part of a kind's time where there are forms to try as well.
constexpr double kLayoutShare = 0.4;

uint64_t pool_bytes(const Rwkv7& model) {
  if (!model.backend().is_host()) {
    return std::min({model.bytes_per_token(), kMaxPoolBytes, model.backend().max_buffer_bytes()});
  }
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

// One kind: its layouts, then the forms of those that count.
Result<TunedKind> tune_one(const Rwkv7& model, const MatrixKind& kind, LayoutProbe& probe,
                           const ContestOptions& options) {
  const Backend& backend = model.backend();
  const Layout standard = model.plan().layout_of(kind.group, kind.dtype);
  const FormLister list = [&](const Layout& layout, uint32_t num_tokens) {
    const MatrixShape& shape = kind.shapes.back();
    const auto mapping = make_mapping(layout, {shape.rows, shape.cols}, element_bits(kind.dtype));
    return mapping ? backend.list_forms(matrix_op(kind.group), kind.dtype, *mapping, num_tokens)
                   : std::vector<KernelForm>();
  };
  const bool has_forms = !list(standard, 1).empty();
  ContestOptions layouts = options, forms = options;
  if (has_forms) {
    layouts.seconds *= kLayoutShare;
    forms.seconds *= 1 - kLayoutShare;
    layouts.progress = [&](double fraction) { options.progress(kLayoutShare * fraction); };
    forms.progress = [&](double fraction) {
      options.progress(kLayoutShare + (1 - kLayoutShare) * fraction);
    };
  }
  const std::vector<Layout> candidates = list_candidates(kind, backend.kernels(), standard);
  SKEIN_ASSIGN_OR_RETURN(TunedKind tuned, tune_kind(kind, candidates, probe, layouts));
  if (has_forms) SKEIN_RETURN_IF_ERROR(tune_forms(tuned, list, probe, forms));
  return tuned;
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
  ContestOptions contest;
  contest.may_skip = !backend.is_host();
  if (!backend.is_host()) report.prefill_tokens = kTuneDeviceTokens;
  contest.token_counts = {1, report.prefill_tokens};
  const double start = probe->now();
  for (size_t i = 0; i < kinds.size(); ++i) {
    contest.progress = [&, i](double fraction) {
      if (!options.progress) return;
      options.progress((static_cast<double>(i) + fraction) / static_cast<double>(kinds.size()),
                       to_string(kinds[i].group));
    };
    contest.progress(0);
    // What one kind took too long or did not need is shared by the rest.
    const double left = options.seconds - (probe->now() - start);
    contest.seconds = std::max(left / static_cast<double>(kinds.size() - i), 1e-3);
    SKEIN_ASSIGN_OR_RETURN(report.kinds.emplace_back(), tune_one(model, kinds[i], *probe, contest));
  }
  SKEIN_RETURN_IF_ERROR(probe->forget_forms());
  report.bandwidth = probe->bandwidth();
  return report;
}

WeightPlan tuned_plan(const TuneReport& report, const WeightPlan& base, bool with_layouts) {
  WeightPlan plan = base;
  for (const TunedKind& kind : report.kinds) {
    if (!with_layouts && kind.chosen != kind.standard) continue;
    plan.set_layout(kind.kind.group, kind.chosen);
    plan.set_form(kind.kind.group, kind.form);
  }
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
    MatrixPlan matrix{kind.kind, kind.chosen, kind.form, {}};
    for (const LayoutTrial& trial : kind.trials) {
      for (const LayoutFigures& figures : trial.figures) {
        const double bytes_per_s = figures.bytes_read / figures.seconds;
        matrix.tried.push_back({trial.layout, trial.form, figures.num_tokens, figures.seconds * 1e6,
                                bytes_per_s / 1e9, 100 * bytes_per_s / report.bandwidth,
                                figures.num_samples});
      }
    }
    file.matrices.push_back(std::move(matrix));
  }
  return file;
}

}  // namespace skein
