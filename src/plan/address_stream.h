// The address streams of the CPU backend's ops, replayed through a CacheModel: what a layout makes
// of the caches, without a PMU and without running the op.
//
// Goals: the order of src/backend/cpu, load for load, for one thread and AVX-512 (16 floats a
// load): replay_matvec() mirrors dense_row_major.cc, dense_interleave.cc and dense_col_major.cc;
// replay_matmul() mirrors dense_gemm.cc with dense_gemm_f32.cc; replay_sparse() mirrors sparse.cc,
// one token; replay_mix6() mirrors mix.cc. Every weight's address comes from the mapping and from
// nowhere else. Layouts that a kernel does not take get the order that such a kernel would have:
// blocks in the order of memory in a row group, tiles of morton by rows of tiles, and for sparse
// the lines that hold weights of non-zero cols.
//
// Non-goals: prefetch instructions, time, other threads, the scales of quantized blocks.
//
// Sampling: sample_every = n replays the first of every n pieces. A piece is 32 rows (in blocked
// layouts the row groups or rows of tiles that they need), for col_major 64 cols, since there all
// of y is used again at each col. Weights are read once a pass, so their rates do not depend on it;
// what is reused between passes over a matrix that fits in a cache does: replay those whole.
//
//   CacheModel cache = ...;
//   AddressSpace space;
//   const Operands at = place_operands(space, mapping, 1);
//   const StreamReport report = replay_matvec(cache, at, {});
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/rwkv7.h"
#include "layout/any_mapping.h"
#include "plan/cache_model.h"

namespace skein {

// Hands out addresses as allocate_host_buffer() does: each block at a multiple of 4 KiB, from 2 MiB
// on of 2 MiB. Nothing is allocated.
class AddressSpace {
 public:
  uint64_t place(uint64_t num_bytes);

 private:
  uint64_t next_ = uint64_t{1} << 21;
};

// A matrix and its f32 activations x [T][cols] and y [T][rows], and the scratch of the ops.
struct Operands {
  AnyMapping weights;
  uint32_t max_tokens = 0;
  uint64_t weights_at = 0;  // addresses, all of them
  uint64_t x_at = 0;
  uint64_t y_at = 0;
  uint64_t scratch_at = 0;
};

// Places weights, x and y of max_tokens tokens, and scratch. Errors: more than kMaxModelAddress.
Result<Operands> place_operands(AddressSpace& space, const AnyMapping& weights,
                                uint32_t max_tokens);

struct StreamOptions {
  uint32_t sample_every = 1;  // > 0
};

// What one replay did. Counts are of this replay alone; the cache is left as the op leaves it, so
// that ops can follow one another.
struct StreamReport {
  std::vector<CacheCount> levels;     // one for each level of the model
  uint64_t memory_bytes = 0;          // the lines that memory delivered, all operands
  uint64_t weight_bytes_touched = 0;  // distinct lines of weights
  uint64_t weight_bytes_used = 0;     // the weights that the op needs, without padding
  double sampled_percent = 100;       // pieces replayed

  // Of the loads and stores, those that some cache had.
  double hit_percent() const noexcept;
  // Of the bytes of the touched lines, those that the op needs.
  double used_percent() const noexcept;
};

// y = W x, one token.
StreamReport replay_matvec(CacheModel& cache, const Operands& at, const StreamOptions& options);

// How gemm() cuts a product: panels of panel_rows rows by block_cols cols are decoded to f32 and
// multiplied by panels of token_width tokens. The defaults are dense_gemm_f32.cc's for AVX-512.
struct Blocking {
  uint32_t panel_rows = 32;  // a multiple of 16
  uint32_t block_cols = 128;
  uint32_t token_width = 12;
  uint32_t token_block = 528;                 // tokens whose packed x stays in L2
  uint64_t packed_elems = 256 * 528 / 6 * 8;  // room of the packed x
};

// Y = W X for 1 to at.max_tokens tokens. The blocking must be valid: tokens of a block times
// block_cols fit in packed_elems, that and a panel in 4 MiB.
StreamReport replay_matmul(CacheModel& cache, const Operands& at, uint32_t num_tokens,
                           const Blocking& blocking, const StreamOptions& options);

// y += W x, one token, whose non-zero cols are `cols`, ascending, below weights.extents().cols. In
// col_major a piece is one of the eight parts of that list.
StreamReport replay_sparse(CacheModel& cache, const Operands& at, std::span<const uint32_t> cols,
                           const StreamOptions& options);

// What LN, token shift and the six mixes read and write, all f32. Packed, they are one pass over
// the tokens; separate, as the document has them: LN(x) into a tensor, then a pass for each mix.
struct MixOperands {
  ActivationLayout layout = ActivationLayout::kPacked;
  uint32_t num_emb = 0;
  uint32_t max_tokens = 0;
  uint64_t x_at = 0;                            // [T][C]
  uint64_t shift_at = 0;                        // [C], of the state
  uint64_t ln_weight_at = 0, ln_bias_at = 0;    // [C]
  uint64_t mix_at = 0;                          // [6][C]
  uint64_t normed_at = 0;                       // [T][C], separate only
  std::array<uint64_t, kNumMixes> out_at = {};  // [T][C] each
};

// Places all of them; packed outputs lie side by side, separate ones where they fall.
MixOperands place_mix(AddressSpace& space, uint32_t num_emb, uint32_t max_tokens,
                      ActivationLayout layout);

// num_tokens <= at.max_tokens tokens of one sequence.
StreamReport replay_mix6(CacheModel& cache, const MixOperands& at, uint32_t num_tokens);

}  // namespace skein
