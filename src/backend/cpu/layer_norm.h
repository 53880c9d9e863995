// Layer norm of whole rows: of the embedding (step 1) and before the head (step 10).
#pragma once

#include <cstdint>
#include <span>

#include "backend/rwkv7.h"

namespace skein {

class ThreadPool;

// Step 1: x[t] = LN(emb[ids[t]]; ln0). Tokens are shared among the threads.
void embed_step(const Weights& weights, const Batch& batch, const Workspace& work,
                ThreadPool& pool) noexcept;

// out[i] = LN(x[tokens[i]]; weight, bias), [C] each; x and out share no memory.
void layer_norm_rows(const Activation& x, std::span<const uint32_t> tokens, const Tensor& weight,
                     const Tensor& bias, const Activation& out, ThreadPool& pool) noexcept;

}  // namespace skein
