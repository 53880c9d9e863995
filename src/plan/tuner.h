// The tuner: the fastest layout for each kind of matrices of a model, by measurement.
//
// Goals: seconds, not minutes; a verdict that a noisy machine does not turn: all layouts of a kind
// are measured in rounds, one after the other, each figure is the smallest of its samples, and the
// default yields only to what beats it clearly. Non-goals: dtypes, orders of fusing, verifying with
// the whole model (that is cli's tune command).
//
// How: successive halving. Every layout has a few samples; the better half has some more; and so on
// until two are left or the time is over. The default is never dropped, so that it has as many
// samples as the best.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/matrix_kinds.h"

namespace skein {

// One product to be timed: y += W x with W of `shape` in `layout`.
struct ProbeCase {
  WeightGroup group = WeightGroup::kAttention;
  DType dtype = DType::kF16;
  MatrixShape shape;
  Layout layout;
  uint32_t num_tokens = 1;
};

// Measures products. A test has one that makes its figures up.
class LayoutProbe {
 public:
  virtual ~LayoutProbe() = default;
  // Called before each stage: for what should be measured now and then.
  virtual Status begin_stage() { return {}; }
  // Seconds of one product, weights not in the caches.
  virtual Result<double> time_product(const ProbeCase& what) = 0;
  // Bytes of weights that it reads.
  virtual double bytes_read(const ProbeCase& what) const = 0;
  // Seconds since any fixed moment.
  virtual double now() const = 0;
};

// Prefill is tuned with as many tokens at once: four times more are as fast a token, and take four
// times longer to measure.
inline constexpr uint32_t kTunePrefillTokens = 128;

// What a plan is best for: a text of which four tokens are read for each one that is written, as in
// a conversation with its questions and instructions.
inline constexpr double kPromptTokensPerToken = 4;

// A layout replaces the default where it is faster by more than that; below, it is noise.
inline constexpr double kMinGain = 0.02;

// One layout of a kind with one number of tokens: sums over all matrices of the kind.
struct LayoutFigures {
  uint32_t num_tokens = 1;
  double seconds = 0;
  double bytes_read = 0;
  uint32_t num_samples = 0;  // of each shape, whose smallest counts
};

struct LayoutTrial {
  Layout layout;
  std::vector<LayoutFigures> figures;  // one token, and many where prefill multiplies the kind
  // Of one written token and what is read for it, in all matrices of the kind.
  double cost_seconds = 0;
};

struct TunedKind {
  MatrixKind kind;
  Layout chosen;
  double cost_seconds = 0, default_cost_seconds = 0;
  std::vector<LayoutTrial> trials;  // the fastest first
};

// The default layout is candidates.front(). Spends about `seconds`, but measures each candidate
// once at least.
Result<TunedKind> tune_kind(const MatrixKind& kind, std::span<const Layout> candidates,
                            LayoutProbe& probe, double seconds,
                            const std::function<void(double fraction)>& progress = {});

}  // namespace skein
