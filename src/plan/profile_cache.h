// Cache hit rates of one decoded token of a loaded model, by the cache model.
//
// Every matrix is walked as address_stream.h says, at the addresses that the loaded tensors and
// activations have among each other: two tensors in one buffer lie here as they lie there. The wkv
// step is its state, read and written once, line by line; embed and mix are left out (two rows).
// One token is walked first, so that what stays in the caches is there when the second one counts.
//
// One thread walks all rows: with more threads each has an L1 and L2 of its own and less to walk.
#pragma once

#include <array>
#include <optional>

#include "plan/cache_model.h"
#include "plan/profile_steps.h"

namespace skein {

struct TokenCacheReport {
  std::vector<double> level_hit_percent;  // of all accesses: that this level or one before it had
  double memory_bytes = 0;                // that memory delivered
  std::array<std::optional<double>, kNumSteps> step_hit_percent;  // that any level had
  double hit_percent() const { return level_hit_percent.back(); }
};

// `work` is a workspace of the model. Large models are sampled: at least three times the caches'
// bytes are walked. Errors: buffers beyond kMaxModelAddress.
Result<TokenCacheReport> simulate_token(const Rwkv7& model, const Workspace& work,
                                        const Sparsity& sparsity, const CacheConfig& config);

}  // namespace skein
