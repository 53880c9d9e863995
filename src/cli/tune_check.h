// Plans against each other with the whole model: the end of `skein tune`, which believes no figure
// of a single product before a forward pass has confirmed it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "plan/tuner.h"
#include "skein/skein.h"

namespace skein::cli {

// Speeds in tokens/s.
struct Speeds {
  double decode = 0, prefill = 0;

  // Seconds of one written token and what is read for it (kPromptTokensPerToken).
  double cost_seconds() const { return 1 / decode + kPromptTokensPerToken / prefill; }
};

// One plan, and how fast it was.
struct Contender {
  std::string name;
  LoadOptions options;
  bool must_be_clear = false;  // replaces others only where it is faster by kMinGain
  bool is_optional = false;    // left out where there is no time to load it
  std::vector<Speeds> rounds = {};
  std::string failure = {};  // why it is out, and has no rounds

  // The best of all rounds: what disturbs a run only makes it slower.
  Speeds best() const;
};

// Whether `challenger` replaces `holder`: its best cost, times `factor`, is not higher, and it was
// the faster of the two in at least `share` of the rounds, so that one lucky run is not enough.
bool replaces(const Contender& challenger, const Contender& holder, double factor, double share);

// Where the winner stands: a contender replaces those before it unless it is slower; one that must
// be clear where it is faster by kMinGain and in three rounds of four.
size_t choose_winner(const std::vector<Contender>& contenders);

struct CheckOptions {
  double seconds = 30;                        // about; each contender has min_rounds
  uint32_t min_rounds = 3;                    // >= 1
  uint32_t max_prefill = kTunePrefillTokens;  // tokens of a prompt, at most
  std::function<void(double fraction, const std::string& detail)> progress = {};
};

// Runs all contenders, less the optional ones where making them ready would take most of the time,
// in turn, round after round. Models are kept between rounds where memory has room for all, and
// loaded again where not. `first` is loaded with the first contender's options. Errors: what
// Model::load and Session say of the first contender; another that does not run is out.
Status run_contest(std::vector<Contender>& contenders, const std::shared_ptr<Model>& first,
                   const CheckOptions& options);

}  // namespace skein::cli
