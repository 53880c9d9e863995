// tune_model: every kind of matrices of a loaded model through the tuner, and what comes out of it
// as a plan and as a plan file.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/rwkv7.h"
#include "plan/plan_file.h"
#include "plan/tuner.h"

namespace skein {

struct TuneOptions {
  double seconds = 30;  // about, all kinds together
  std::function<void(double fraction, std::string_view group)> progress = {};
};

struct TuneReport {
  std::vector<TunedKind> kinds;
  // Groups whose matrices have several dtypes: they keep the default layouts, since a group has
  // one.
  std::vector<WeightGroup> mixed_groups;
  double bandwidth = 0;  // bytes/s that plain reads reached; the best of the run
  double density = 0;    // share of the ffn's activations that are not zero, in random text
  uint32_t prefill_tokens = kTunePrefillTokens;  // at once
};

// `model` is loaded with the default plan; its weights are not read but for the density, its shapes
// and its backend are used. Errors: no memory, device errors.
Result<TuneReport> tune_model(const Rwkv7& model, const TuneOptions& options);

// `base` with the chosen layouts and forms; or only with the forms of those groups whose layout
// stays.
WeightPlan tuned_plan(const TuneReport& report, const WeightPlan& base, bool with_layouts = true);

// The sums of all kinds' costs: what a written token, and the reading for it, take in matrices.
double total_cost(const TuneReport& report);
double total_default_cost(const TuneReport& report);

// The report's part of a plan file; the caller adds the key, version, date and checks.
PlanFile make_plan_file(const TuneReport& report);

}  // namespace skein
