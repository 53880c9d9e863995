// The profiler: the "Estimated Impact" table of the document that Skein was asked for from,
// measured on one model and one backend.
//
// Goals: every idea alone and added to those before it, in the order of the document's "Recommended
// Experiment"; every layout; per step and end to end; each speed beside the read bandwidth of the
// same run; cache hit rates from hardware counters or, said so, from the cache model. Non-goals:
// choosing a plan (the tuner does), text and plots (cli/profile_report.h).
//
// How it measures: variants are loaded side by side, as many as memory allows, always with the
// baseline, and run in rounds (A B C A B C ...), so that a machine that slows down slows all of
// them. A ratio is taken within a round. Random tokens, the same for all, from an empty state.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "model/weight_plan.h"
#include "plan/cache_model.h"
#include "plan/profile_ideas.h"
#include "plan/profile_steps.h"

namespace skein {

struct ProfileOptions {
  WeightPlan base;             // its quant rules are those of every variant; the rest is not used
  uint32_t num_decode = 32;    // tokens of one sample, > 0
  uint32_t num_prefill = 256;  // > 0
  double budget_seconds = 30;  // of measuring; every variant has one round at least
  bool simulate_cache = false;
};

// Of the loads and stores of one decoded token, those that a cache had.
struct CacheFigures {
  struct Level {
    std::string name;
    double hit_percent = 0;  // of all accesses: those that this level or one before it had
  };
  bool is_simulated = false;
  double hit_percent = 0;
  std::vector<Level> levels;           // of a simulation
  std::optional<double> memory_bytes;  // that memory delivered, of a simulation
};

// One step of one token, all layers together.
struct StepFigures {
  Step step = Step::kEmbed;
  double decode_us = 0, prefill_us = 0;
  double bytes = 0;  // of weights, that decoding one token reads
  std::optional<double> hit_percent;
};

struct VariantFigures {
  Variant variant;
  std::string skipped;  // why it was not measured; empty: it was
  // Tokens/s, one value a round; the baseline's of the same rounds beside them.
  std::vector<double> decode, decode_baseline;
  std::vector<double> prefill, prefill_baseline;
  double bytes_per_token = 0;  // of weights, really read
  double padding_bytes = 0;    // of the matrices
  std::vector<StepFigures> steps;
  std::optional<CacheFigures> cache;
};

struct ProfileReport {
  Experiment experiment;                 // its indices are those of `variants`
  std::vector<VariantFigures> variants;  // the baseline first
  double bandwidth = 0;                  // bytes/s
  double zero_percent = 0;               // of the ffn's activations
  uint64_t weight_bytes = 0;             // of the baseline, without the embedding
  uint64_t cache_bytes = 0;              // the outermost level; 0: unknown
  uint32_t num_threads = 0;
  uint32_t num_decode = 0, num_prefill = 0;
  std::string device;
  std::string cache_note;  // where the hit rates come from, or why there are none
};

using ProfileProgress = std::function<void(double fraction, std::string_view detail)>;

// Errors: the model cannot be loaded in the baseline's layouts, device errors, a cache to simulate
// of a backend whose memory is not the host's. A variant that the backend has no kernel for, or
// memory has no room for, is skipped with the reason.
Result<ProfileReport> profile_model(const std::string& path, Backend& backend,
                                    const ProfileOptions& options, const ProfileProgress& progress);

// The ratio to the baseline: median and quartiles of the rounds' ratios. Nothing without rounds.
struct Ratio {
  double median = 1, low = 1, high = 1;
};
std::optional<Ratio> ratio_of(const std::vector<double>& values,
                              const std::vector<double>& baseline);

}  // namespace skein
