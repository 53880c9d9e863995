// LN, token shift and the six mixes, as mix.cc goes.
#include <algorithm>

#include "plan/address_replay.h"

namespace skein {
namespace {

// Calls f(offset in bytes, bytes) for the vectors of a row of num_emb floats.
template <class F>
void for_each_vector(uint32_t num_emb, F&& f) {
  const uint64_t row_bytes = uint64_t{num_emb} * kFloatBytes;
  for (uint64_t i = 0; i < row_bytes; i += kVectorBytes) {
    f(i, std::min(kVectorBytes, row_bytes - i));
  }
}

// One token of mix_token_into(): norm_of_row() reads x twice, then everything goes by vectors.
// `num_outputs` of the mixes are made; LN(x) goes to `shift_at`, which is read before.
void mix_token(CacheModel& cache, const MixOperands& at, uint64_t token, uint64_t shift_at,
               uint32_t num_outputs) {
  const uint64_t row_bytes = uint64_t{at.num_emb} * kFloatBytes;
  const uint64_t x_at = at.x_at + token * row_bytes;
  for (int pass = 0; pass < 2; ++pass) {
    for_each_vector(at.num_emb, [&](uint64_t i, uint64_t n) { cache.access(x_at + i, n); });
  }
  for_each_vector(at.num_emb, [&](uint64_t i, uint64_t n) {
    for (const uint64_t from : {x_at, at.ln_weight_at, at.ln_bias_at, shift_at, shift_at}) {
      cache.access(from + i, n);
    }
    for (uint32_t c = 0; c < num_outputs; ++c) {
      cache.access(at.mix_at + c * row_bytes + i, n);
      cache.access(at.out_at[c] + token * row_bytes + i, n);
    }
  });
}

// MixStep::run_in_passes(): LN(x) of all tokens, then lerp_row() for each mix, then the state.
void mix_in_passes(CacheModel& cache, const MixOperands& at, uint32_t num_tokens) {
  const uint64_t row_bytes = uint64_t{at.num_emb} * kFloatBytes;
  const auto normed_at = [&](uint64_t token) { return at.normed_at + token * row_bytes; };
  for (uint32_t t = 0; t < num_tokens; ++t) mix_token(cache, at, t, normed_at(t), 0);
  for (uint32_t c = 0; c < kNumMixes; ++c) {
    for (uint32_t t = 0; t < num_tokens; ++t) {
      const uint64_t before_at = t == 0 ? at.shift_at : normed_at(t - 1);
      for_each_vector(at.num_emb, [&](uint64_t i, uint64_t n) {
        cache.access(normed_at(t) + i, n);
        cache.access(before_at + i, n);
        cache.access(at.mix_at + c * row_bytes + i, n);
        cache.access(at.out_at[c] + t * row_bytes + i, n);
      });
    }
  }
  for_each_vector(at.num_emb, [&](uint64_t i, uint64_t n) {
    cache.access(normed_at(num_tokens - 1) + i, n);
    cache.access(at.shift_at + i, n);
  });
}

}  // namespace

MixOperands place_mix(AddressSpace& space, uint32_t num_emb, uint32_t max_tokens,
                      ActivationLayout layout) {
  const uint64_t row_bytes = uint64_t{num_emb} * kFloatBytes;
  const uint64_t tensor_bytes = row_bytes * max_tokens;
  MixOperands at;
  at.layout = layout;
  at.num_emb = num_emb;
  at.max_tokens = max_tokens;
  at.x_at = space.place(tensor_bytes);
  at.shift_at = space.place(row_bytes);
  at.ln_weight_at = space.place(row_bytes);
  at.ln_bias_at = space.place(row_bytes);
  at.mix_at = space.place(row_bytes * kNumMixes);
  const bool packed = layout == ActivationLayout::kPacked;
  if (!packed) at.normed_at = space.place(tensor_bytes);
  const uint64_t packed_at = packed ? space.place(tensor_bytes * kNumMixes) : 0;
  for (uint32_t c = 0; c < kNumMixes; ++c) {
    at.out_at[c] = packed ? packed_at + c * tensor_bytes : space.place(tensor_bytes);
  }
  return at;
}

StreamReport replay_mix6(CacheModel& cache, const MixOperands& at, uint32_t num_tokens) {
  CHECK(num_tokens > 0 && num_tokens <= at.max_tokens);
  const std::vector<CacheCount> before(cache.counts().begin(), cache.counts().end());
  if (at.layout == ActivationLayout::kSeparate) {
    mix_in_passes(cache, at, num_tokens);
  } else {
    for (uint32_t t = 0; t < num_tokens; ++t) mix_token(cache, at, t, at.shift_at, kNumMixes);
  }
  StreamReport report;
  report.levels = difference(cache.counts(), before);
  report.memory_bytes = report.levels.back().misses() * cache.config().line_bytes;
  return report;
}

}  // namespace skein
