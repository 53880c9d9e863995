#include "engine/sampler.h"

#include <cmath>
#include <string_view>

#include "base/check.h"
#include "engine/softmax_draw.h"

namespace skein {
namespace {

// Below this a count changes no logit, and denormal products would be slow.
constexpr float kFadedCount = 1e-30f;

// Working memory, grown to the largest vocabulary that the thread has sampled from.
struct Scratch {
  std::vector<float> penalized;
  TokenWeights weights;
  Candidates candidates;
};

Scratch& scratch() {
  thread_local Scratch instance;
  return instance;
}

// False for NaN.
bool within(float value, float low, float high) noexcept { return low <= value && value <= high; }

Status check_range(std::string_view flag, float value, float low, float high) {
  if (within(value, low, high)) return {};
  return error("{}: expected a number from {} to {}, found {}", flag, low, high, value);
}

}  // namespace

Status validate(const SamplerOptions& options) {
  const float temperature = options.temperature;
  if (temperature != 0 && !within(temperature, 0.001f, 1000)) {
    return error("--temperature: expected 0 (greedy) or a number from 0.001 to 1000, found {}",
                 temperature);
  }
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    return error("--top-p: expected a number above 0 and at most 1, found {}", options.top_p);
  }
  SKEIN_RETURN_IF_ERROR(check_range("--min-p", options.min_p, 0, 1));
  SKEIN_RETURN_IF_ERROR(check_range("--presence-penalty", options.presence_penalty, 0, 1000));
  SKEIN_RETURN_IF_ERROR(check_range("--frequency-penalty", options.frequency_penalty, 0, 1000));
  return check_range("--penalty-decay", options.penalty_decay, 0, 1);
}

Sampler::Sampler(const SamplerOptions& options, uint32_t num_vocab)
    : options_(options), num_vocab_(num_vocab), random_(options.seed) {
  CHECK(num_vocab > 0);
  CHECK(validate(options));
  if (options.presence_penalty != 0 || options.frequency_penalty != 0) place_of_.resize(num_vocab);
}

uint32_t Sampler::sample(std::span<const float> logits) {
  CHECK(logits.size() == num_vocab_);
  logits = penalized(logits);
  const Peak peak = find_peak(logits);
  if (options_.temperature == 0 || !std::isfinite(peak.logit)) return peak.id;
  const float scale = 1 / options_.temperature;
  auto& [unused, weights, candidates] = scratch();
  const bool filters = options_.top_k != 0 || options_.top_p < 1 || options_.min_p > 0;
  if (!filters) {
    weights.assign(logits, peak.logit, scale);
    return weights.draw(next_uniform(random_));
  }
  if (options_.top_p < 1) weights.assign(logits, peak.logit, 1);
  keep_candidates(logits, peak.logit, {options_.top_k, options_.top_p, options_.min_p}, weights,
                  candidates);
  weights.assign(candidates.logits(), peak.logit, scale);
  return candidates.ids()[weights.draw(next_uniform(random_))];
}

void Sampler::accept(uint32_t token) {
  if (token >= place_of_.size()) return;  // also without penalties
  for (float& count : counts_) {
    count *= options_.penalty_decay;
    count = count < kFadedCount ? 0 : count;
  }
  if (place_of_[token] == 0) {
    seen_.push_back(token);
    counts_.push_back(0);
    place_of_[token] = static_cast<uint32_t>(seen_.size());
  }
  counts_[place_of_[token] - 1] += 1;
}

// The logits after the penalties: `logits` itself where there are none, else a copy in the thread's
// scratch.
std::span<const float> Sampler::penalized(std::span<const float> logits) const {
  if (seen_.empty()) return logits;
  std::vector<float>& copy = scratch().penalized;
  copy.assign(logits.begin(), logits.end());
  for (size_t i = 0; i < seen_.size(); ++i) {
    copy[seen_[i]] -= options_.presence_penalty + options_.frequency_penalty * counts_[i];
  }
  return copy;
}

}  // namespace skein
