// The steps that are no matrix products, as kernels: norms, token shift and mixes, the wkv.
#pragma once

#include <vector>

#include "backend/rwkv7.h"
#include "backend/webgpu/kernels.h"

namespace skein::webgpu {

// What the shaders read of a batch, [num_bytes / 16] of vec4<u32>: a header of two,
//   [0] tokens, runs, where the runs start, where the logit tokens start; [1].x logit tokens
// then for each token (id, slot, first and last token of its run), for each run (slot, first token,
// number of tokens, 0), for each logit token (index, 0, 0, 0).
inline constexpr uint32_t kBatchTokensAt = 2;
std::vector<uint32_t> pack_batch(const Batch& batch);

// What is still to be added to x, [T][num_splits][C] (sparse.h), by the next kernel that reads it,
// and where that one puts the sum: not where it reads x, since its workgroups all read all of it.
struct PendingSums {
  uint32_t num_splits = 0;
  const Activation* sums = nullptr;
  const Activation* x_out = nullptr;
};

// The rows of a matrix of embeddings that the batch names, normalised into x.
// Where the batch names draws, the row of the token drawn last. `emb` is on the device.
Result<Kernel> embed_kernel(const Tensor& emb, const Weights& weights, const Batch& batch,
                            const GpuBuffer& batch_buffer, const Workspace& work,
                            const GpuLimits& limits);
// The same of `rows`, [T][C] f32 that the host has looked up.
Result<Kernel> embed_rows_kernel(const Dimensions& dims, const Weights& weights, const Batch& batch,
                                 const Activation& rows, const Workspace& work,
                                 const GpuLimits& limits);
// work.y[i] = LN(x[logit_tokens[i]]; ln_out).
Result<Kernel> head_norm_kernel(const Dimensions& dims, const Weights& weights, const Batch& batch,
                                const GpuBuffer& batch_buffer, const Activation& x,
                                const PendingSums& pending, const Workspace& work,
                                const GpuLimits& limits);

// Norm, shift and mix of the attention (six outputs) or of the ffn (one). A second kernel, which
// writes the shifts, where a run has more than one token.
Result<std::vector<Kernel>> mix_kernels(const LayerArgs& args, bool is_ffn, const Activation& x,
                                        const PendingSums& pending, const GpuBuffer& batch_buffer,
                                        const GpuLimits& limits);

Result<Kernel> wkv_kernel(const LayerArgs& args, const GpuBuffer& batch_buffer,
                          const GpuLimits& limits);

}  // namespace skein::webgpu
