// Steps 2 and 7: layer norm, token shift and the mixes, in one pass over a token.
//
// Laws: T = 1, T = n and any chunking or number of threads give the same bits. Cost: x is read
// three times while it is in L1, each output is written once; about 1 us for the six mixes at C =
// 1024, on the caller's thread for one token.
#pragma once

#include "backend/rwkv7.h"

namespace skein {

class ThreadPool;

// Step 2. Rows of work.r and work.k, which step 3 overwrites, serve as scratch when there are
// several tokens.
void mix6_step(const LayerArgs& args, ThreadPool& pool) noexcept;

// Step 7. The same scratch, which the next layer overwrites.
void mix_step(const LayerArgs& args, ThreadPool& pool) noexcept;

}  // namespace skein
