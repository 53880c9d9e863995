// The tuner: the fastest layout for each kind of matrices of a model, by measurement, and on a
// device the form that its kernels have (tune_forms).
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

#include "backend/kernel_form.h"
#include "base/result.h"
#include "model/matrix_kinds.h"

namespace skein {

// One product to be timed: y += W x with W of `shape` in `layout`, by kernels of that form.
struct ProbeCase {
  WeightGroup group = WeightGroup::kAttention;
  DType dtype = DType::kF16;
  MatrixShape shape;
  Layout layout;
  uint32_t num_tokens = 1;
  KernelForm form = {};
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
// times longer to measure. A device has work for all its cores only with as many as a session runs
// at once.
inline constexpr uint32_t kTunePrefillTokens = 128, kTuneDeviceTokens = 512;

// What a plan is best for: a text of which four tokens are read for each one that is written, as in
// a conversation with its questions and instructions.
inline constexpr double kPromptTokensPerToken = 4;

// A layout replaces the default where it is faster by more than that; below, it is noise.
inline constexpr double kMinGain = 0.02;

// What is measured against each other: the default comes first.
struct Candidate {
  Layout layout;
  KernelForm form = {};
  friend bool operator==(const Candidate&, const Candidate&) = default;
};

// One layout of a kind with one number of tokens: sums over all matrices of the kind.
struct LayoutFigures {
  uint32_t num_tokens = 1;
  double seconds = 0;
  double bytes_read = 0;
  uint32_t num_samples = 0;  // of each shape, whose smallest counts
};

struct LayoutTrial {
  Layout layout;
  KernelForm form = {};
  // One token, and many where prefill multiplies the kind; of a form one of them.
  std::vector<LayoutFigures> figures;
  // Of one written token and what is read for it, in all matrices of the kind.
  double cost_seconds = 0;
  double default_cost_seconds = 0;  // of the default, measured in turn with this
  bool is_final = false;            // measured to the end, as often as the best
};

// A candidate that could not be measured: a shader that does not compile, no memory.
struct FailedTrial {
  Candidate candidate;
  std::string reason;
};

struct TunedKind {
  MatrixKind kind;
  Layout standard, chosen;
  KernelForm form = {};  // chosen; the standard one is the backend's rule
  double cost_seconds = 0, default_cost_seconds = 0;
  std::vector<LayoutTrial> trials;  // the fastest first, layouts before forms
  uint32_t num_skipped = 0;         // candidates for which there was no time
  std::vector<FailedTrial> failed;
};

using TuneProgress = std::function<void(double fraction)>;

struct ContestOptions {
  double seconds = 1;  // about
  // Numbers of tokens at once; more than one has its weight in the cost (cost_weight).
  std::vector<uint32_t> token_counts = {1, kTunePrefillTokens};
  // Whether candidates are left out that had no turn in the first half of the time: a device
  // compiles each first. Otherwise each has one sample at least.
  bool may_skip = false;
  TuneProgress progress = {};
};

// What a second of products of so many tokens adds to the cost of a written token.
double cost_weight(uint32_t num_tokens);

// Measures all candidates against each other; trials in the candidates' order. Errors: what the
// default's products say; of another's, as long as the default's still run, only that one is out.
struct ContestResult {
  std::vector<LayoutTrial> trials;
  uint32_t num_skipped = 0;
  std::vector<FailedTrial> failed;
};
Result<ContestResult> measure_candidates(const MatrixKind& kind,
                                         std::span<const Candidate> candidates, LayoutProbe& probe,
                                         const ContestOptions& options);

// The default layout is candidates.front(). The head is asked for the last token of a prompt only.
Result<TunedKind> tune_kind(const MatrixKind& kind, std::span<const Layout> candidates,
                            LayoutProbe& probe, const ContestOptions& options);

// The forms of a layout that are worth measuring with so many tokens.
using FormLister = std::function<std::vector<KernelForm>(const Layout&, uint32_t num_tokens)>;

// Goes on with what tune_kind() found: for each number of tokens the forms of the chosen layout and
// of the default one, then the better of the two with the best forms. A form replaces the backend's
// rule, and both replace the default, where they are faster by more than kMinGain.
Status tune_forms(TunedKind& tuned, const FormLister& list, LayoutProbe& probe,
                  const ContestOptions& options);

}  // namespace skein
