// NeuronOrder: the neurons of every layer's ffn in another order, and weights brought into it.
//
// A neuron is a row of ffn.key together with the col of ffn.value of the same number. In another
// order f is permuted, x += W_value f is the same sum in another order, and nothing else in a model
// knows the numbers. Hot neurons side by side: a token that fires mostly hot ones reads neighbours.
// Goals: a permuting copy of one matrix at the speed of memory. Non-goals: choosing an order
// (neurons.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "layout/extents.h"

namespace skein {

class ThreadPool;

struct NeuronOrder {
  // [L][F]: neuron i of the model is neuron layers[l][i] of its file.
  std::vector<std::vector<uint32_t>> layers;
};

// Errors: not num_layers permutations of num_hidden neurons; as for another model.
Status check_neuron_order(const NeuronOrder& order, uint32_t num_layers, uint32_t num_hidden);

// A copy of a `row_major` matrix whose row i is row order[i]; order.size() == extents.rows and the
// bytes are those of the extents. Not inside a run of `pool`; the same for reorder_cols().
std::vector<std::byte> reorder_rows(std::span<const std::byte> matrix, const Extents& extents,
                                    std::span<const uint32_t> order, ThreadPool& pool);

// The same with cols, of 2 or 4 bytes an element.
std::vector<std::byte> reorder_cols(std::span<const std::byte> matrix, const Extents& extents,
                                    std::span<const uint32_t> order, ThreadPool& pool);

}  // namespace skein
