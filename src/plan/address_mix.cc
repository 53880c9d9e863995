// LN, token shift and the six mixes, as mix.cc goes.
#include <algorithm>

#include "plan/address_replay.h"

namespace skein {
namespace {

// One token of mix_token_into(): norm_of_row() reads x twice, then everything goes by vectors.
void mix_token(CacheModel& cache, const MixOperands& at, uint64_t token) {
  const uint64_t row_bytes = uint64_t{at.num_emb} * kFloatBytes;
  const uint64_t x_at = at.x_at + token * row_bytes;
  const auto vector = [&](uint64_t address, uint64_t i) {
    cache.access(address + i, std::min(kVectorBytes, row_bytes - i));
  };
  for (int pass = 0; pass < 2; ++pass) {
    for (uint64_t i = 0; i < row_bytes; i += kVectorBytes) vector(x_at, i);
  }
  for (uint64_t i = 0; i < row_bytes; i += kVectorBytes) {
    for (const uint64_t from : {x_at, at.ln_weight_at, at.ln_bias_at, at.shift_at, at.shift_at}) {
      vector(from, i);
    }
    for (uint32_t c = 0; c < kNumMixes; ++c) {
      vector(at.mix_at + c * row_bytes, i);
      vector(at.out_at[c] + token * row_bytes, i);
    }
  }
}

}  // namespace

MixOperands place_mix(AddressSpace& space, uint32_t num_emb, uint32_t max_tokens,
                      ActivationLayout layout) {
  const uint64_t row_bytes = uint64_t{num_emb} * kFloatBytes;
  const uint64_t tensor_bytes = row_bytes * max_tokens;
  MixOperands at;
  at.num_emb = num_emb;
  at.max_tokens = max_tokens;
  at.x_at = space.place(tensor_bytes);
  at.shift_at = space.place(row_bytes);
  at.ln_weight_at = space.place(row_bytes);
  at.ln_bias_at = space.place(row_bytes);
  at.mix_at = space.place(row_bytes * kNumMixes);
  const bool packed = layout == ActivationLayout::kPacked;
  const uint64_t packed_at = packed ? space.place(tensor_bytes * kNumMixes) : 0;
  for (uint32_t c = 0; c < kNumMixes; ++c) {
    at.out_at[c] = packed ? packed_at + c * tensor_bytes : space.place(tensor_bytes);
  }
  return at;
}

StreamReport replay_mix6(CacheModel& cache, const MixOperands& at, uint32_t num_tokens) {
  CHECK(num_tokens <= at.max_tokens);
  const std::vector<CacheCount> before(cache.counts().begin(), cache.counts().end());
  for (uint32_t t = 0; t < num_tokens; ++t) mix_token(cache, at, t);
  StreamReport report;
  report.levels = difference(cache.counts(), before);
  report.memory_bytes = report.levels.back().misses() * cache.config().line_bytes;
  return report;
}

}  // namespace skein
