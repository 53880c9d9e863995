#include "plan/profile.h"

#include <algorithm>

#include "plan/perf_counters.h"
#include "plan/profile_cache.h"
#include "plan/profile_runner.h"
#include "plan/statistics.h"

namespace skein {
namespace {

// Of the budget, what choosing morton's side may spend.
constexpr double kMortonShare = 0.08;

// Where hit rates come from: counters, the model, or nowhere.
class CacheSource {
 public:
  CacheSource(const Backend& backend, bool simulate, std::string& note) {
    if (!backend.is_host()) {
      note = fmt::format("no cache hit rates: {} does not tell", backend.description());
      return;
    }
    if (!simulate) {
      Result<PerfCounters> counters = PerfCounters::open();
      if (counters) {
        counters_ = *std::move(counters);
        note = "cache hit rates: hardware counters of the calling thread";
        return;
      }
      note = fmt::format("no cache hit rates: {}; --simulate-cache replays the addresses instead",
                         counters.error().message);
      return;
    }
    const Result<CacheConfig> config = read_cache_config();
    config_ = config ? *config : usual_cache_config();
    note = fmt::format("cache hit rates: simulated, {}", to_string(*config_));
    if (!config)
      note += fmt::format("; this CPU's caches are not known: {}", config.error().message);
  }

  Status add_to(const ProfileRunner& runner, const LoadedVariant& loaded, VariantFigures& figures) {
    if (counters_) return count(runner, loaded, figures);
    if (config_) return simulate(runner, loaded, figures);
    return {};
  }

 private:
  Status count(const ProfileRunner& runner, const LoadedVariant& loaded, VariantFigures& figures) {
    SKEIN_RETURN_IF_ERROR(counters_->start());
    SKEIN_RETURN_IF_ERROR(runner.decode(loaded));
    SKEIN_ASSIGN_OR_RETURN(const PerfCounts counts, counters_->stop());
    const std::optional<double> hits = counts.hit_percent();
    if (hits) figures.cache = CacheFigures{false, *hits, {}, {}};
    return {};
  }

  Status simulate(const ProfileRunner& runner, const LoadedVariant& loaded,
                  VariantFigures& figures) {
    SKEIN_ASSIGN_OR_RETURN(
        const TokenCacheReport report,
        simulate_token(*loaded.model, loaded.decode_work, runner.sparsity(), *config_));
    CacheFigures cache{true, report.hit_percent(), {}, report.memory_bytes};
    for (size_t i = 0; i < report.level_hit_percent.size(); ++i) {
      cache.levels.push_back({config_->levels[i].name, report.level_hit_percent[i]});
    }
    figures.cache = std::move(cache);
    for (StepFigures& step : figures.steps) {
      step.hit_percent = report.step_hit_percent[static_cast<size_t>(step.step)];
    }
    return {};
  }

  std::optional<PerfCounters> counters_;
  std::optional<CacheConfig> config_;
};

// The side of the fastest morton in decoding, alone on the baseline.
Result<uint32_t> choose_morton_side(ProfileRunner& runner, const ProfileOptions& options,
                                    const ProfileProgress& progress) {
  std::vector<VariantFigures> figures;
  for (const uint32_t side : kMortonSides) {
    Switches switches;
    switches.order = MatrixOrder::kMorton;
    switches.morton_side = side;
    VariantFigures& added = figures.emplace_back();
    added.variant = {fmt::format("morton({})", side), plan_of(switches, options.base)};
  }
  std::vector<VariantFigures*> all;
  for (VariantFigures& f : figures) all.push_back(&f);
  SKEIN_RETURN_IF_ERROR(runner.run(
      all, options.budget_seconds * kMortonShare,
      [](const LoadedVariant&, VariantFigures&) { return Status(); }, progress));
  uint32_t best = kMortonSides.front();
  double best_ratio = 0;
  for (size_t i = 0; i < figures.size(); ++i) {
    const std::optional<Ratio> ratio = ratio_of(figures[i].decode, figures[i].decode_baseline);
    if (!ratio || ratio->median <= best_ratio) continue;
    best_ratio = ratio->median;
    best = kMortonSides[i];
  }
  return best;
}

void describe(const ProfileRunner& runner, const Backend& backend, const ProfileOptions& options,
              ProfileReport& report) {
  report.zero_percent =
      100 * (1 - summarize(*runner.baseline().model, runner.sparsity().counts).density);
  report.num_threads = backend.num_threads();
  report.device = backend.description();
  report.num_decode = options.num_decode;
  report.num_prefill = options.num_prefill;
  double bytes = 0;
  for (const double step : bytes_by_step(*runner.baseline().model)) bytes += step;
  report.weight_bytes = static_cast<uint64_t>(bytes);
  if (const auto config = read_cache_config(); config && backend.is_host()) {
    for (const CacheLevel& level : config->levels) {
      report.cache_bytes = std::max(report.cache_bytes, level.num_bytes);
    }
  }
}

}  // namespace

Result<ProfileReport> profile_model(const std::string& path, Backend& backend,
                                    const ProfileOptions& options,
                                    const ProfileProgress& progress) {
  if (options.simulate_cache && !backend.is_host()) {
    return error("profile: expected a backend over host memory to simulate caches of, found {}",
                 backend.name());
  }
  SKEIN_ASSIGN_OR_RETURN(
      ProfileRunner runner,
      ProfileRunner::create(path, backend, options, plan_of(Switches(), options.base)));
  ProfileOptions known = options;
  known.base.file_dtypes = runner.baseline().model->plan().file_dtypes;
  const auto morton_progress = [&](double fraction, std::string_view detail) {
    progress(fraction * kMortonShare, detail);
  };
  SKEIN_ASSIGN_OR_RETURN(const uint32_t morton_side,
                         choose_morton_side(runner, known, morton_progress));
  ProfileReport report;
  report.experiment =
      make_experiment(known.base, morton_side, default_plan(backend.dense_layouts()));
  std::vector<VariantFigures*> all;
  report.variants.resize(report.experiment.variants.size());
  for (size_t i = 0; i < report.variants.size(); ++i) {
    report.variants[i].variant = report.experiment.variants[i];
    all.push_back(&report.variants[i]);
  }
  CacheSource source(backend, known.simulate_cache, report.cache_note);
  const auto on_loaded = [&](const LoadedVariant& loaded, VariantFigures& figures) {
    return source.add_to(runner, loaded, figures);
  };
  SKEIN_RETURN_IF_ERROR(runner.run(all, known.budget_seconds * (1 - kMortonShare), on_loaded,
                                   [&](double fraction, std::string_view detail) {
                                     progress(kMortonShare + fraction * (1 - kMortonShare), detail);
                                   }));
  report.bandwidth = quantile(runner.bandwidths(), 0.5);
  describe(runner, backend, known, report);
  return report;
}

std::optional<Ratio> ratio_of(const std::vector<double>& values,
                              const std::vector<double>& baseline) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(values.size(), baseline.size()); ++i) {
    if (baseline[i] > 0) ratios.push_back(values[i] / baseline[i]);
  }
  if (ratios.empty()) return std::nullopt;
  return Ratio{quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75)};
}

}  // namespace skein
