// What a backend computes: the data of the ten steps of RWKV-7 (docs/architecture.md, "The ten
// steps").
//
// Axes, slowest first: B slot, T token, C channel (num_emb), F hidden, H head, K key index, V value
// index, N vocabulary. Weights are Tensors in any layout that the backend has a kernel for
// (kernel_registry.h); vectors are f32 `row_major` of one row. Activations are f32, one row a
// token. Nothing here allocates; model/ builds these and owns them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/check.h"
#include "layout/state_layout.h"
#include "tensor/buffer.h"
#include "tensor/tensor.h"

namespace skein {

inline constexpr float kLayerNormEps = 1e-5f;
// BlinkDL: 1e-5 * head_size_divisor^2, with divisor 8.
inline constexpr float kGroupNormEps = 64e-5f;
inline constexpr float kNormalizeEps = 1e-12f;             // floor of the L2 norm in kk
inline constexpr float kDecayScale = -0.606530659712633f;  // -e^(-1/2): log of the strongest decay

struct Dimensions {
  uint32_t num_layers = 0;
  uint32_t num_emb = 0;     // C, a multiple of head_size
  uint32_t num_hidden = 0;  // F, 4C in released models
  uint32_t num_heads = 0;   // H = C / S
  uint32_t head_size = 0;   // S = 64
  uint32_t num_vocab = 0;   // N, any
  uint32_t rank_w = 0, rank_a = 0, rank_v = 0, rank_g = 0;
  friend bool operator==(const Dimensions&, const Dimensions&) = default;
};

// The six inputs of the time mix, in the order of `mix`'s rows and of the packed activations.
enum class Mix : uint32_t { kR, kW, kK, kV, kA, kG };
inline constexpr uint32_t kNumMixes = 6;

struct LayerWeights {
  Tensor ln1_weight, ln1_bias;            // [1][C]
  Tensor mix;                             // [6][C] x_r, x_w, x_k, x_v, x_a, x_g
  Tensor receptance, key, value, output;  // [C][C]
  Tensor w0, a0, v0;                      // [1][C]; layer 0 has no v0, v1, v2
  Tensor w1, a1, v1, g1;                  // [rank][C]
  Tensor w2, a2, v2, g2;                  // [C][rank]
  Tensor k_k, k_a, r_k;                   // [1][C]
  Tensor ln_x_weight, ln_x_bias;          // [1][C]
  Tensor ln2_weight, ln2_bias;            // [1][C]
  Tensor ffn_mix;                         // [1][C] x_k
  Tensor ffn_key;                         // [F][C]
  Tensor ffn_value;                       // [C][F]
};

struct Weights {
  Tensor emb;                         // [N][C], cold: one row a token
  Tensor ln0_weight, ln0_bias;        // [1][C]
  std::vector<LayerWeights> layers;   // [num_layers]
  Tensor ln_out_weight, ln_out_bias;  // [1][C]
  Tensor head;                        // [N][C]
};

// Tokens of one sequence that stand side by side in the batch and advance one slot of the state.
struct Run {
  uint32_t slot = 0;
  uint32_t first_token = 0;
  uint32_t num_tokens = 0;  // >= 1
};

// The tokens of one forward pass. Runs cover ids in order, without gaps; slots differ from run to
// run.
struct Batch {
  std::span<const uint32_t> ids;  // [T], each < N
  std::span<const Run> runs;
  // Ascending token indices whose logits are asked for; may be empty.
  std::span<const uint32_t> logit_tokens;
  // If set, the batch's only id is the last one that was drawn there (Backend::draw), whatever
  // `ids` holds.
  const Buffer* draws = nullptr;
  uint32_t num_tokens() const noexcept { return static_cast<uint32_t>(ids.size()); }
};

// The recurrent state of all slots, f32, zero at the start of a sequence.
struct State {
  std::shared_ptr<Buffer> buffer;  // [L][B][elems_per_layer]
  StateMapping mapping;
  uint32_t num_layers = 0;
  uint32_t num_slots = 0;

  uint64_t num_elems() const noexcept { return num_layers * num_slots * mapping.elems_per_layer(); }
  uint64_t offset_elems(uint32_t layer, uint32_t slot) const noexcept {
    DCHECK(layer < num_layers && slot < num_slots);
    return (uint64_t{layer} * num_slots + slot) * mapping.elems_per_layer();
  }
};

// One f32 activation, [T][num_cols], whose rows start stride_elems apart.
struct Activation {
  std::shared_ptr<Buffer> buffer;
  uint64_t offset_elems = 0;
  uint64_t stride_elems = 0;
  uint32_t num_cols = 0;

  // Row of `token`; host buffers only.
  float* row(uint64_t token) const noexcept {
    return reinterpret_cast<float*>(buffer->host_data()) + offset_elems + token * stride_elems;
  }
};

// How the six mixed inputs lie: six tensors, or one [num_emb, num_token, 6, 1] (the seed's idea 4).
enum class ActivationLayout : uint8_t { kSeparate, kPacked };

// Every intermediate of a forward pass of at most max_tokens tokens. Each step says what it reads
// and writes.
struct Workspace {
  uint32_t max_tokens = 0;
  uint32_t max_logits = 0;
  ActivationLayout activation_layout = ActivationLayout::kPacked;

  Activation x;                             // [T][C] the residual stream
  std::array<Activation, kNumMixes> mixed;  // [6][T][C] r, w, k, v, a, g
  Activation r, k, v;                       // [T][C]
  Activation low_w, low_a, low_v, low_g;    // [T][rank], packed side by side
  Activation w, a, g;                       // [T][C] w is the decay itself, in (0, 1)
  Activation v_first;                       // [T][C] layer 0's v
  Activation y;                             // [T][C] gated output of the wkv
  Activation z;                             // [T][C] mixed input of the ffn
  Activation f;                             // [T][F] relu^2, mostly zero
  Activation logits;                        // [max_logits][N]

  const Activation& mix(Mix m) const noexcept { return mixed[static_cast<uint32_t>(m)]; }
};

// What every step of one layer is given.
struct LayerArgs {
  const Dimensions& dims;
  const LayerWeights& weights;
  uint32_t layer;
  const Batch& batch;
  const State& state;  // the buffer is written, its description is not
  const Workspace& work;
};

}  // namespace skein
