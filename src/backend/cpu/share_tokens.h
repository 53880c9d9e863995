// share_tokens: runs a step that goes token by token on all threads of a pool, or on the caller's
// where that is faster.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace skein {

// Below this many elements a step is done before the threads of a pool have met twice: about 1 ns
// an element for the six mixes against 1 to 2 us for fork and join.
inline constexpr uint64_t kSerialElems = 4096;

// Calls f(Range) so that the ranges cover [0, num_tokens) once; no range is empty.
template <class F>
void share_tokens(ThreadPool& pool, uint64_t num_tokens, uint64_t elems_per_token, F&& f) noexcept {
  if (num_tokens == 0) return;
  if (num_tokens == 1 || pool.num_threads() == 1 || num_tokens * elems_per_token <= kSerialElems) {
    f(Range{0, num_tokens});
    return;
  }
  pool.run([&](uint32_t thread) {
    const Range range = share_of(num_tokens, 1, thread, pool.num_threads());
    if (!range.empty()) f(range);
  });
}

}  // namespace skein
