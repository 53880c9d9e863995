// Step 5: the wkv recurrence, one head after the other, over a state in `head_key_value`.
//
// Laws: T = 1, T = n, any chunking and any number of threads give the same bits. Cost: 16 KiB of
// state per head are read twice and written once a token; in prefill they stay in L1. Non-goals:
// other head sizes than 64.
//
// Why a recurrence for prefill too, and not the chunked form: see wkv.cc.
#pragma once

#include "backend/rwkv7.h"

namespace skein {

class ThreadPool;

inline constexpr uint32_t kWkvHeadSize = 64;
inline constexpr StateLayout kWkvStateLayout = StateLayout::kHeadKeyValue;

// Heads of all runs are shared among the threads. Reads r, k, v, w, a, g; writes y and the state.
void wkv_step(const LayerArgs& args, ThreadPool& pool) noexcept;

}  // namespace skein
