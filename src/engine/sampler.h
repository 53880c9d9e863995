// Sampler: draws the next token from the logits of one sequence.
//
// The order is that of RWKV's own sample_logits, so that published settings mean the same here:
//   1. penalties: logit -= presence_penalty + frequency_penalty * count, for every token accepted
//   so far. Each accepted
//      token first fades all counts by penalty_decay, then adds 1 to its own. A count fades,
//      presence does not. (RWKV's demo also exempts digits and spaces, which are text; a sampler
//      sees ids only.)
//   2. p = softmax of the penalized logits, at temperature 1.
//   3. filters, each defined on that same p, so that their order does not matter: with tokens
//   ranked by p, ties by the
//      lower id, keep the first top_k; the shortest run of ranks whose p add up to top_p; those
//      with p >= min_p * max p. The most likely token always stays.
//   4. the kept tokens are drawn with weights p^(1 / temperature). Temperature comes last, so it
//   does not change what
//      top_p and min_p keep.
// Temperature 0 is greedy: after the penalties, the largest logit, ties to the lowest id; the
// filters have no say.
//
// Odd logits: NaN counts as -inf, which is never drawn. +inf wins, the lowest id of them. All -inf
// or NaN: token 0, end of text, so that generation ends.
//
// Random numbers: std::mt19937_64, which the standard defines to the bit, seeded with `seed`; u =
// (x >> 11) * 2^-53; the token is the first whose running sum of weights, ids ascending, exceeds u
// times the total. One number is used per drawn token, none by greedy. (The distributions of
// <random> differ between libraries, so none is used.) The same options, logits and binary give the
// same tokens, on any number of threads.
//
// Non-goals: beam search, grammars, token bans (set those logits to -inf).
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "base/result.h"
#include "skein/sampler.h"

namespace skein {

// Every number in its range (skein/sampler.h; temperatures other than 0 are 0.001 to 1000,
// penalties 0 to 1000). Errors name the flag: "--top-p: expected a number above 0 and at most 1,
// found 1.5".
Status validate(const SamplerOptions& options);

// In [0, 1): one number of the sequence that a seed stands for.
inline double next_uniform(std::mt19937_64& random) noexcept {
  return static_cast<double>(random() >> 11) * 0x1p-53;
}

// One per sequence; copying it copies the place in the random sequence. The working memory (16
// bytes a token of the vocabulary) belongs to the thread, so that many sequences share what is in
// its L2.
class Sampler {
 public:
  // validate(options) holds, num_vocab > 0.
  Sampler(const SamplerOptions& options, uint32_t num_vocab);

  // The next token. `logits` [N], N = num_vocab. It is not accepted yet. Cost for 65,536 logits of
  // a model that is fairly sure (SSE2, EPYC, 2026-11): 12 µs greedy, 30 µs with min_p, 40 to 90 µs
  // with top_k, 75 µs without filters and 95 µs with top_p (one exp a logit); 300 µs with top_p on
  // the flat logits of random weights, 1.5 ms at worst (filters on logits that are all the same).
  uint32_t sample(std::span<const float> logits);

  // Counts a token for the penalties: what was sampled, and where wanted the prompt. Ids beyond the
  // vocabulary are ignored. Linear in the number of different tokens accepted; nothing while both
  // penalties are 0.
  void accept(uint32_t token);

 private:
  std::span<const float> penalized(std::span<const float> logits) const;

  SamplerOptions options_;
  uint32_t num_vocab_;
  std::mt19937_64 random_;
  std::vector<uint32_t> seen_;      // different tokens in the order of their first occurrence
  std::vector<float> counts_;       // of seen_, faded
  std::vector<uint32_t> place_of_;  // [N] place in seen_ + 1, 0 for unseen; empty without penalties
};

}  // namespace skein
