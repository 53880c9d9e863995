#include "model/neuron_order.h"

#include <cstring>

#include "base/check.h"
#include "base/thread_pool.h"

namespace skein {
namespace {

bool is_permutation(std::span<const uint32_t> order, uint32_t count) {
  if (order.size() != count) return false;
  std::vector<bool> seen(count);
  for (const uint32_t i : order) {
    if (i >= count || seen[i]) return false;
    seen[i] = true;
  }
  return true;
}

// Elements through memcpy: a mapped file promises no alignment.
template <class Bits>
void gather_cols(const std::byte* from, std::byte* to, std::span<const uint32_t> order) {
  for (size_t i = 0; i < order.size(); ++i) {
    std::memcpy(to + i * sizeof(Bits), from + order[i] * sizeof(Bits), sizeof(Bits));
  }
}

}  // namespace

Status check_neuron_order(const NeuronOrder& order, uint32_t num_layers, uint32_t num_hidden) {
  if (order.layers.size() != num_layers) {
    return error("order of neurons: expected {} layers, found {}", num_layers, order.layers.size());
  }
  for (uint32_t layer = 0; layer < num_layers; ++layer) {
    if (is_permutation(order.layers[layer], num_hidden)) continue;
    return error("order of neurons: layer {}: expected a permutation of {}, found {} others", layer,
                 num_hidden, order.layers[layer].size());
  }
  return {};
}

std::vector<std::byte> reorder_rows(std::span<const std::byte> matrix, const Extents& extents,
                                    std::span<const uint32_t> order, ThreadPool& pool) {
  DCHECK(order.size() == extents.rows && matrix.size() % extents.rows == 0);
  const uint64_t row_bytes = matrix.size() / extents.rows;
  std::vector<std::byte> out(matrix.size());
  pool.run([&](uint32_t thread) {
    const Range rows = share_of(extents.rows, 1, thread, pool.num_threads());
    for (uint64_t row = rows.begin; row < rows.end; ++row) {
      std::memcpy(out.data() + row * row_bytes, matrix.data() + order[row] * row_bytes, row_bytes);
    }
  });
  return out;
}

std::vector<std::byte> reorder_cols(std::span<const std::byte> matrix, const Extents& extents,
                                    std::span<const uint32_t> order, ThreadPool& pool) {
  DCHECK(order.size() == extents.cols && matrix.size() % extents.num_elems() == 0);
  const uint64_t elem_bytes = matrix.size() / extents.num_elems();
  CHECK(elem_bytes == 2 || elem_bytes == 4);
  const uint64_t row_bytes = extents.cols * elem_bytes;
  std::vector<std::byte> out(matrix.size());
  pool.run([&](uint32_t thread) {
    const Range rows = share_of(extents.rows, 1, thread, pool.num_threads());
    for (uint64_t row = rows.begin; row < rows.end; ++row) {
      const std::byte* from = matrix.data() + row * row_bytes;
      std::byte* to = out.data() + row * row_bytes;
      elem_bytes == 2 ? gather_cols<uint16_t>(from, to, order)
                      : gather_cols<uint32_t>(from, to, order);
    }
  });
  return out;
}

}  // namespace skein
