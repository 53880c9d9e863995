// The arithmetic of the sampler over a whole vocabulary: the peak, the weights, the filters, the
// draw.
//
// Goals: loops that the compiler turns into vectors on every target, without fast-math and with one
// result whatever the vector width: sums run in 16 fixed lanes. Non-goals: accuracy beyond f32
// (weights have a relative error below 2e-7).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace skein {

// The largest logit and the lowest id that has it. NaN counts as -inf; all -inf: {-inf, 0}.
struct Peak {
  float logit;
  uint32_t id;
};
Peak find_peak(std::span<const float> logits) noexcept;

// e^x for x <= 0, with a relative error below 2e-7; 0 for NaN and below -87, where f32 ends.
float exp_nonpositive(float x) noexcept;

// TokenWeights e^((logit - peak) * scale) and their total, ready for draws.
class TokenWeights {
 public:
  // peak is finite and no logit is larger. NaN weighs 0.
  void assign(std::span<const float> logits, float peak, float scale);

  float operator[](size_t i) const noexcept { return weights_[i]; }
  double total() const noexcept { return total_; }

  // The first index whose running sum exceeds u * total(), for u in [0, 1). Needs total() > 0.
  // Never an index of weight 0.
  uint32_t draw(double u) const noexcept;

 private:
  static constexpr size_t kBlock = 256;
  std::vector<float> weights_;  // whole blocks, the tail zero
  std::vector<double> sums_;    // of each block
  double total_ = 0;
};

// Tokens with their logits, ids ascending.
class Candidates {
 public:
  std::span<const uint32_t> ids() const noexcept { return {ids_.data(), count_}; }
  std::span<const float> logits() const noexcept { return {logits_.data(), count_}; }
  size_t count() const noexcept { return count_; }

  // The tokens whose logit is at most `reach_nats` below `peak`. The reach is finite, so -inf and
  // NaN stay out.
  void gather(std::span<const float> logits, float peak, float reach_nats);

  // Drops the tokens for which keep(logit, id) is false.
  template <typename Predicate>
  void retain(Predicate keep) {
    size_t count = 0;
    for (size_t i = 0; i < count_; ++i) {
      ids_[count] = ids_[i];
      logits_[count] = logits_[i];
      count += keep(logits_[i], ids_[i]) ? 1u : 0u;
    }
    count_ = count;
  }

 private:
  // Never shrunk: clearing them again would cost as much as the search.
  std::vector<uint32_t> ids_;
  std::vector<float> logits_;
  size_t count_ = 0;
};

struct Filter {
  uint32_t top_k;  // 0: off
  float top_p;     // 1: off
  float min_p;     // 0: off
};

// The tokens that pass all three filters (sampler.h, step 3), at least one. `peak` is finite.
// `weights` are those of `logits` at scale 1 where filter.top_p < 1; otherwise they are not read.
void keep_candidates(std::span<const float> logits, float peak, const Filter& filter,
                     const TokenWeights& weights, Candidates& kept);

}  // namespace skein
