// The forms of a device's kernels: what tuner.h calls tune_forms().
//
// A group form counts with one token and a tile with many, so each number of tokens has a contest
// of its own, in which the default layout and the chosen one take part side by side.
#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "plan/tuner.h"

namespace skein {
namespace {

// A layout with what its best forms take.
struct Finalist {
  Layout layout;
  KernelForm form = {};
  double cost_seconds = 0;       // with that form
  double rule_cost_seconds = 0;  // with the backend's rule
};

// Adds the contest's best form of the finalist's layout, or the rule, to what it has.
void add_best(const std::vector<LayoutTrial>& trials, Finalist& finalist) {
  const LayoutTrial* rule = nullptr;
  const LayoutTrial* best = nullptr;
  for (const LayoutTrial& trial : trials) {
    if (trial.layout != finalist.layout) continue;
    if (trial.form.is_auto()) {
      rule = &trial;
    } else if (trial.is_final && (best == nullptr || trial.cost_seconds < best->cost_seconds)) {
      best = &trial;
    }
  }
  // A layout for which there was no time is out.
  if (rule == nullptr) {
    finalist.cost_seconds = finalist.rule_cost_seconds = std::numeric_limits<double>::infinity();
    return;
  }
  finalist.rule_cost_seconds += rule->cost_seconds;
  const bool wins = best != nullptr && best->cost_seconds * (1 + kMinGain) < rule->cost_seconds;
  finalist.cost_seconds += wins ? best->cost_seconds : rule->cost_seconds;
  if (wins) finalist.form = finalist.form.with(best->form);
}

void choose(const std::vector<Finalist>& finalists, TunedKind& tuned) {
  const Finalist& standard = finalists.front();
  tuned.default_cost_seconds = standard.rule_cost_seconds;
  const Finalist* winner = &standard;
  for (const Finalist& finalist : finalists) {
    if (finalist.cost_seconds * (1 + kMinGain) < winner->cost_seconds) winner = &finalist;
  }
  const bool is_clear = winner->cost_seconds * (1 + kMinGain) < standard.rule_cost_seconds;
  tuned.chosen = is_clear ? winner->layout : standard.layout;
  tuned.form = is_clear ? winner->form : KernelForm();
  tuned.cost_seconds = is_clear ? winner->cost_seconds : standard.rule_cost_seconds;
}

}  // namespace

Status tune_forms(TunedKind& tuned, const FormLister& list, LayoutProbe& probe,
                  const ContestOptions& options) {
  CHECK(!options.token_counts.empty());
  std::vector<uint32_t> counts = options.token_counts;
  if (tuned.kind.group == WeightGroup::kHead) counts = {1};
  std::vector<Finalist> finalists = {{tuned.standard}};
  if (tuned.chosen != tuned.standard) finalists.push_back({tuned.chosen});
  std::vector<LayoutTrial> trials;
  for (size_t i = 0; i < counts.size(); ++i) {
    std::vector<Candidate> candidates;
    for (const Finalist& finalist : finalists) candidates.push_back({finalist.layout});
    for (const Finalist& finalist : finalists) {
      for (const KernelForm& form : list(finalist.layout, counts[i])) {
        candidates.push_back({finalist.layout, form});
      }
    }
    ContestOptions one = options;
    one.seconds = options.seconds / static_cast<double>(counts.size());
    one.token_counts = {counts[i]};
    if (options.progress) {
      one.progress = [&, i](double fraction) {
        options.progress((static_cast<double>(i) + fraction) / static_cast<double>(counts.size()));
      };
    }
    SKEIN_ASSIGN_OR_RETURN(ContestResult contest,
                           measure_candidates(tuned.kind, candidates, probe, one));
    for (Finalist& finalist : finalists) add_best(contest.trials, finalist);
    tuned.num_skipped += contest.num_skipped;
    tuned.failed.insert(tuned.failed.end(), contest.failed.begin(), contest.failed.end());
    std::erase_if(contest.trials, [](const LayoutTrial& trial) { return trial.form.is_auto(); });
    std::stable_sort(
        contest.trials.begin(), contest.trials.end(),
        [](const LayoutTrial& a, const LayoutTrial& b) { return a.cost_seconds < b.cost_seconds; });
    trials.insert(trials.end(), contest.trials.begin(), contest.trials.end());
  }
  choose(finalists, tuned);
  tuned.trials.insert(tuned.trials.end(), trials.begin(), trials.end());
  return {};
}

}  // namespace skein
