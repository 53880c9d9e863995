// How the next token is drawn from the logits.
#pragma once

#include <cstdint>

namespace skein {

struct SamplerOptions {
  float temperature = 1.0f;  // >= 0; 0 takes the most likely token
  uint32_t top_k = 0;        // keep the k most likely; 0 keeps all
  float top_p = 0.9f;        // keep the smallest set whose probabilities reach this; (0, 1]
  float min_p = 0.0f;        // drop what is less likely than min_p times the most likely; [0, 1]
  float presence_penalty = 0.0f;   // subtracted from the logit of every token seen
  float frequency_penalty = 0.0f;  // subtracted once per (decayed) occurrence
  float penalty_decay = 0.996f;    // occurrences fade by this factor per token; [0, 1]
  uint64_t seed = 0;               // the same seed, options and logits give the same tokens
};

}  // namespace skein
