#include "plan/tuner.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace skein {
namespace {

// One candidate while it is measured: the smallest time of each (tokens, shape).
struct Contestant {
  Candidate candidate;
  std::vector<std::vector<double>> seconds;  // [tokens][shape]
  uint32_t num_samples = 0;
  std::string failure = {};  // why it is out
};

class Contest {
 public:
  Contest(const MatrixKind& kind, std::span<const Candidate> candidates, LayoutProbe& probe,
          const std::vector<uint32_t>& token_counts)
      : kind_(kind), probe_(probe), token_counts_(token_counts) {
    for (const Candidate& candidate : candidates) {
      contestants_.push_back({candidate, {}});
      contestants_.back().seconds.assign(
          token_counts_.size(),
          std::vector<double>(kind.shapes.size(), std::numeric_limits<double>::infinity()));
      remaining_.push_back(contestants_.size() - 1);
    }
  }

  // One more sample of everything that remains; from `deadline` on those are dropped that have none
  // yet.
  Status run_round(double deadline) {
    for (const size_t index : remaining_) {
      Contestant& contestant = contestants_[index];
      if (contestant.num_samples == 0 && index > 0 && probe_.now() >= deadline) continue;
      const Status sampled = sample(contestant);
      if (sampled) {
        ++contestant.num_samples;
        continue;
      }
      // Where the device is gone, the default says so.
      SKEIN_RETURN_IF_ERROR(sample(contestants_.front()));
      contestant.failure = sampled.error().message;
    }
    std::erase_if(remaining_, [&](size_t index) {
      return contestants_[index].num_samples == 0 || !contestants_[index].failure.empty();
    });
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

  ContestResult result() const {
    ContestResult result;
    for (size_t index = 0; index < contestants_.size(); ++index) {
      if (!contestants_[index].failure.empty()) {
        result.failed.push_back({contestants_[index].candidate, contestants_[index].failure});
        continue;
      }
      if (contestants_[index].num_samples == 0) {
        ++result.num_skipped;
        continue;
      }
      result.trials.push_back(trial(contestants_[index]));
      result.trials.back().default_cost_seconds = cost(contestants_.front());
      result.trials.back().is_final =
          std::find(remaining_.begin(), remaining_.end(), index) != remaining_.end();
    }
    return result;
  }

 private:
  // Every product once.
  Status sample(Contestant& contestant) {
    for (size_t t = 0; t < token_counts_.size(); ++t) {
      for (size_t s = 0; s < kind_.shapes.size(); ++s) {
        SKEIN_ASSIGN_OR_RETURN(const double seconds,
                               probe_.time_product(probe_case(contestant.candidate, t, s)));
        contestant.seconds[t][s] = std::min(contestant.seconds[t][s], seconds);
      }
    }
    return {};
  }

  ProbeCase probe_case(const Candidate& candidate, size_t tokens_index, size_t shape_index) const {
    return {kind_.group,
            kind_.dtype,
            kind_.shapes[shape_index],
            candidate.layout,
            token_counts_[tokens_index],
            candidate.form};
  }

  double seconds_of(const Contestant& contestant, size_t tokens_index) const {
    double seconds = 0;
    for (size_t s = 0; s < kind_.shapes.size(); ++s) {
      seconds += kind_.shapes[s].count * contestant.seconds[tokens_index][s];
    }
    return seconds;
  }

  double cost(const Contestant& contestant) const {
    double cost = 0;
    for (size_t t = 0; t < token_counts_.size(); ++t) {
      cost += cost_weight(token_counts_[t]) * seconds_of(contestant, t);
    }
    return cost;
  }

  LayoutTrial trial(const Contestant& contestant) const {
    const Candidate& candidate = contestant.candidate;
    LayoutTrial trial{candidate.layout, candidate.form, {}, cost(contestant)};
    for (size_t t = 0; t < token_counts_.size(); ++t) {
      LayoutFigures figures{token_counts_[t], seconds_of(contestant, t), 0, contestant.num_samples};
      for (size_t s = 0; s < kind_.shapes.size(); ++s) {
        figures.bytes_read +=
            kind_.shapes[s].count * probe_.bytes_read(probe_case(candidate, t, s));
      }
      trial.figures.push_back(figures);
    }
    return trial;
  }

  const MatrixKind& kind_;
  LayoutProbe& probe_;
  const std::vector<uint32_t>& token_counts_;
  std::vector<Contestant> contestants_;
  std::vector<size_t> remaining_;
};

}  // namespace

double cost_weight(uint32_t num_tokens) {
  return num_tokens == 1 ? 1 : kPromptTokensPerToken / num_tokens;
}

Result<ContestResult> measure_candidates(const MatrixKind& kind,
                                         std::span<const Candidate> candidates, LayoutProbe& probe,
                                         const ContestOptions& options) {
  CHECK(!candidates.empty() && !kind.shapes.empty() && !options.token_counts.empty());
  Contest contest(kind, candidates, probe, options.token_counts);
  // Each halving, and the end among the last, has the same time; the first, which sorts out half
  // of all by the fewest samples, twice that.
  const double num_stages = std::max(1.0, std::ceil(std::log2(candidates.size())));
  // What that measures has time of its own.
  SKEIN_RETURN_IF_ERROR(probe.begin_stage());
  const double start = probe.now();
  const double deadline =
      options.may_skip ? start + options.seconds / 2 : std::numeric_limits<double>::infinity();
  for (double stage = 1; stage <= num_stages; ++stage) {
    const double stage_end = start + options.seconds * (stage + 1) / (num_stages + 1);
    if (stage > 1) SKEIN_RETURN_IF_ERROR(probe.begin_stage());
    do {
      SKEIN_RETURN_IF_ERROR(contest.run_round(deadline));
      if (options.progress) {
        options.progress(std::min(1.0, (probe.now() - start) / options.seconds));
      }
    } while (probe.now() < stage_end);
    if (stage < num_stages) contest.halve();
  }
  return contest.result();
}

Result<TunedKind> tune_kind(const MatrixKind& kind, std::span<const Layout> candidates,
                            LayoutProbe& probe, const ContestOptions& options) {
  CHECK(!candidates.empty());
  ContestOptions own = options;
  if (kind.group == WeightGroup::kHead) own.token_counts = {1};
  std::vector<Candidate> contestants;
  for (const Layout& layout : candidates) contestants.push_back({layout});
  SKEIN_ASSIGN_OR_RETURN(ContestResult contest, measure_candidates(kind, contestants, probe, own));
  TunedKind tuned;
  tuned.kind = kind;
  tuned.standard = tuned.chosen = candidates.front();
  tuned.num_skipped = contest.num_skipped;
  tuned.failed = std::move(contest.failed);
  tuned.cost_seconds = tuned.default_cost_seconds = contest.trials.front().cost_seconds;
  // Only what came to the end: others were measured in fewer, perhaps luckier rounds.
  for (const LayoutTrial& trial : contest.trials) {
    if (trial.is_final && trial.cost_seconds < tuned.cost_seconds &&
        trial.cost_seconds * (1 + kMinGain) < tuned.default_cost_seconds) {
      tuned.chosen = trial.layout;
      tuned.cost_seconds = trial.cost_seconds;
    }
  }
  tuned.trials = std::move(contest.trials);
  std::stable_sort(
      tuned.trials.begin(), tuned.trials.end(),
      [](const LayoutTrial& a, const LayoutTrial& b) { return a.cost_seconds < b.cost_seconds; });
  return tuned;
}

}  // namespace skein
