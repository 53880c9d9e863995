// The one list of an RWKV-7 model's weights: name in the file, shape, role, place in Weights.
// Loading, validating, packing and inspecting all walk it; a weight that is not here does not
// exist.
//
// Names are BlinkDL's. Matrices are rows = outputs by cols = inputs, whatever the file does: the
// low-rank matrices (w1, w2, ...) are stored for `x @ w1`, so their file holds [inputs][outputs],
// which is our `col_major`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/kernel_registry.h"
#include "backend/rwkv7.h"
#include "base/result.h"

namespace skein {

// What a weight is for; a plan names groups of matrices by it.
enum class WeightGroup : uint8_t {
  kVector,     // one row, or the six mixes: f32 row_major in every plan
  kEmbedding,  // emb: one row a token, stays where the file has it
  kAttention,  // receptance, key, value, output
  kLowRank,    // w1 w2 a1 a2 v1 v2 g1 g2
  kFfnKey,
  kFfnValue,
  kHead,
};

// "vector", "emb", "att", "low_rank", "ffn.key", "ffn.value", "head": as plans and flags name them.
std::string_view to_string(WeightGroup group) noexcept;

// The op that a matrix of this group is multiplied by.
MatrixOp matrix_op(WeightGroup group) noexcept;

struct WeightSpec {
  // In the file; several are stacked as the rows of one weight (the six mixes).
  std::vector<std::string> names;
  WeightGroup group = WeightGroup::kVector;
  uint64_t rows = 0, cols = 0;     // of the weight, all names together
  bool stored_transposed = false;  // the file holds [cols][rows]
  Tensor* target = nullptr;        // where the packed weight goes

  // "emb.weight", or "blocks.0.att.x_r .. x_g" for a stacked one.
  std::string label() const;
};

// Every weight of a model of these dimensions, in the order of use. `weights.layers` is resized to
// num_layers.
std::vector<WeightSpec> list_weights(const Dimensions& dims, Weights& weights);

}  // namespace skein
