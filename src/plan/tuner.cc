#include "plan/tuner.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace skein {
namespace {

// One layout while it is measured: the smallest time of each (tokens, shape).
struct Contestant {
  Layout layout;
  std::vector<std::vector<double>> seconds;  // [tokens][shape]
  uint32_t num_samples = 0;
};

class Contest {
 public:
  Contest(const MatrixKind& kind, std::span<const Layout> candidates, LayoutProbe& probe)
      : kind_(kind), probe_(probe) {
    // The head is asked for the last token of a prompt only.
    if (kind.group != WeightGroup::kHead) token_counts_.push_back(kTunePrefillTokens);
    for (const Layout& layout : candidates) {
      contestants_.push_back({layout, {}, 0});
      contestants_.back().seconds.assign(
          token_counts_.size(),
          std::vector<double>(kind.shapes.size(), std::numeric_limits<double>::infinity()));
      remaining_.push_back(contestants_.size() - 1);
    }
  }

  size_t num_remaining() const { return remaining_.size(); }

  // One more sample of everything that remains.
  Status run_round() {
    for (const size_t index : remaining_) {
      Contestant& contestant = contestants_[index];
      for (size_t t = 0; t < token_counts_.size(); ++t) {
        for (size_t s = 0; s < kind_.shapes.size(); ++s) {
          SKEIN_ASSIGN_OR_RETURN(const double seconds,
                                 probe_.time_product(probe_case(contestant.layout, t, s)));
          contestant.seconds[t][s] = std::min(contestant.seconds[t][s], seconds);
        }
      }
      ++contestant.num_samples;
    }
    return {};
  }

  // Drops the slower half, but neither the default nor what may be as fast as the best.
  void halve() {
    std::sort(remaining_.begin(), remaining_.end(),
              [&](size_t a, size_t b) { return cost(contestants_[a]) < cost(contestants_[b]); });
    const size_t kept = std::max<size_t>(2, (remaining_.size() + 1) / 2);
    if (remaining_.size() <= kept) return;
    const bool keeps_default =
        std::find(remaining_.begin(), remaining_.begin() + static_cast<ptrdiff_t>(kept),
                  size_t{0}) != remaining_.begin() + static_cast<ptrdiff_t>(kept);
    remaining_.resize(kept);
    if (!keeps_default) remaining_.push_back(0);
  }

  TunedKind result() const {
    TunedKind tuned{kind_, contestants_.front().layout, 0, cost(contestants_.front()), {}};
    tuned.cost_seconds = tuned.default_cost_seconds;
    // Only what came to the end: others were measured in fewer, perhaps luckier rounds.
    for (const size_t index : remaining_) {
      const double other = cost(contestants_[index]);
      if (other < tuned.cost_seconds && other * (1 + kMinGain) < tuned.default_cost_seconds) {
        tuned.chosen = contestants_[index].layout;
        tuned.cost_seconds = other;
      }
    }
    for (const Contestant& contestant : contestants_) tuned.trials.push_back(trial(contestant));
    std::stable_sort(
        tuned.trials.begin(), tuned.trials.end(),
        [](const LayoutTrial& a, const LayoutTrial& b) { return a.cost_seconds < b.cost_seconds; });
    return tuned;
  }

 private:
  ProbeCase probe_case(const Layout& layout, size_t tokens_index, size_t shape_index) const {
    return {kind_.group, kind_.dtype, kind_.shapes[shape_index], layout,
            token_counts_[tokens_index]};
  }

  double seconds_of(const Contestant& contestant, size_t tokens_index) const {
    double seconds = 0;
    for (size_t s = 0; s < kind_.shapes.size(); ++s) {
      seconds += kind_.shapes[s].count * contestant.seconds[tokens_index][s];
    }
    return seconds;
  }

  double cost(const Contestant& contestant) const {
    double cost = seconds_of(contestant, 0);
    for (size_t t = 1; t < token_counts_.size(); ++t) {
      cost += kPromptTokensPerToken * seconds_of(contestant, t) / token_counts_[t];
    }
    return cost;
  }

  LayoutTrial trial(const Contestant& contestant) const {
    LayoutTrial trial{contestant.layout, {}, cost(contestant)};
    for (size_t t = 0; t < token_counts_.size(); ++t) {
      LayoutFigures figures{token_counts_[t], seconds_of(contestant, t), 0, contestant.num_samples};
      for (size_t s = 0; s < kind_.shapes.size(); ++s) {
        figures.bytes_read +=
            kind_.shapes[s].count * probe_.bytes_read(probe_case(contestant.layout, t, s));
      }
      trial.figures.push_back(figures);
    }
    return trial;
  }

  const MatrixKind& kind_;
  LayoutProbe& probe_;
  std::vector<uint32_t> token_counts_ = {1};
  std::vector<Contestant> contestants_;
  std::vector<size_t> remaining_;
};

}  // namespace

Result<TunedKind> tune_kind(const MatrixKind& kind, std::span<const Layout> candidates,
                            LayoutProbe& probe, double seconds,
                            const std::function<void(double fraction)>& progress) {
  CHECK(!candidates.empty() && !kind.shapes.empty());
  Contest contest(kind, candidates, probe);
  // // Each halving, and the end among the last, has the same time; the first, which sorts out half
  // of all by the fewest samples, twice that.
  const double num_stages = std::max(1.0, std::ceil(std::log2(candidates.size())));
  const double start = probe.now();
  for (double stage = 1; stage <= num_stages; ++stage) {
    const double stage_end = start + seconds * (stage + 1) / (num_stages + 1);
    SKEIN_RETURN_IF_ERROR(probe.begin_stage());
    do {
      SKEIN_RETURN_IF_ERROR(contest.run_round());
      if (progress) progress(std::min(1.0, (probe.now() - start) / seconds));
    } while (probe.now() < stage_end);
    if (stage < num_stages) contest.halve();
  }
  return contest.result();
}

}  // namespace skein
