// How often each neuron of the ffn fires, and the order that puts the ones that fire most side by
// side.
//
// A neuron fires for a token where f = relu(W_key z)^2 is not zero; only then is its col of
// ffn.value read. Trained models fire some neurons for almost every token and many hardly ever.
// Goals: counts over a text on any backend; figures that say what an order is worth before a model
// is packed in it. Non-goals: predicting which neurons fire, pruning those that do not.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/neuron_order.h"
#include "model/rwkv7.h"

namespace skein {

// Sums over the tokens of a text. Order and blocks are those that were asked for.
struct NeuronCounts {
  uint64_t num_tokens = 0;
  std::vector<std::vector<uint64_t>> fired;  // [L][F] tokens that neuron fired for
  // [L] runs: neurons side by side that fire for the same token, as many as there are, count once.
  std::vector<uint64_t> runs;
  // [L] blocks of block_cols neurons with one or more that fire: whose scales are read.
  std::vector<uint64_t> blocks;
  uint64_t block_cols = 1;  // of the model's ffn.value: 1 where it is not quantized
};

// Runs `ids` as one text. `order` may name the model's neurons in another order, in which they are
// counted (neuron i of the counts is neuron order.layers[l][i] of the model); empty: as they are.
// At most `chunk_tokens` run at once: f of 64 is 2 MiB in a model of 8192 neurons. Errors: no ids,
// an id that the model does not have, an order for another model, device errors.
Result<NeuronCounts> count_neurons(const Rwkv7& model, std::span<const uint32_t> ids,
                                   const NeuronOrder& order = {}, uint32_t chunk_tokens = 64);

// Adds the counts of another text, in the same order and blocks.
void add_counts(const NeuronCounts& more, NeuronCounts& counts);

// The most frequent first; equal ones in the order of their numbers.
NeuronOrder order_by_frequency(const NeuronCounts& counts);

// Means over layers and tokens.
struct NeuronSummary {
  double density;         // of neurons that fire
  double never_fired;     // share of the neurons
  double first_10_share;  // of all that fire: share that falls on each layer's first 10 %, which
  double first_20_share;  // are the hottest where the order is by frequency
  double first_50_share;
  double runs_per_layer;  // a token
  double value_bytes;     // of ffn.value that a token reads in all layers: cols that fire, and the
                          // scales of their blocks
};

// `counts` are of `model`.
NeuronSummary summarize(const Rwkv7& model, const NeuronCounts& counts);

}  // namespace skein
