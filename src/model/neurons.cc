#include "model/neurons.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "base/bits.h"
#include "base/check.h"

namespace skein {
namespace {

// Adds what one token fired in one layer.
void add_token(std::span<const float> f, std::span<const uint32_t> order, uint32_t layer,
               NeuronCounts& counts) {
  bool before = false;
  uint64_t last_block = ~uint64_t{0};
  for (size_t i = 0; i < f.size(); ++i) {
    const bool fires = f[order.empty() ? i : order[i]] != 0;
    if (fires) {
      ++counts.fired[layer][i];
      if (!before) ++counts.runs[layer];
      const uint64_t block = i / counts.block_cols;
      if (block != last_block) ++counts.blocks[layer];
      last_block = block;
    }
    before = fires;
  }
}

NeuronCounts empty_counts(const Rwkv7& model, uint64_t num_tokens) {
  const Dimensions& dims = model.dims();
  NeuronCounts counts;
  counts.num_tokens = num_tokens;
  counts.fired.assign(dims.num_layers, std::vector<uint64_t>(dims.num_hidden));
  counts.runs.assign(dims.num_layers, 0);
  counts.blocks.assign(dims.num_layers, 0);
  counts.block_cols = block_cols(model.weights().layers.front().ffn_value.dtype());
  return counts;
}

// Bytes of ffn.value that all tokens of the counts together read in a layer.
double value_bytes(const Tensor& value, const NeuronCounts& counts, uint64_t layer) {
  const auto& fired = counts.fired[layer];
  const auto num_fired =
      static_cast<double>(std::accumulate(fired.begin(), fired.end(), uint64_t{0}));
  const auto cols = static_cast<double>(value.cols());
  const auto span_bytes = static_cast<double>(value.span_bytes());
  if (!is_quantized(value.dtype())) return num_fired * span_bytes / cols;
  const auto code_bytes = static_cast<double>(value.scales_offset_bytes());
  const auto num_blocks = static_cast<double>(ceil_div(value.cols(), counts.block_cols));
  return num_fired * code_bytes / cols +
         static_cast<double>(counts.blocks[layer]) * (span_bytes - code_bytes) / num_blocks;
}

// The share of all that fire which falls on the first `part` of each layer.
double first_share(const NeuronCounts& counts, double part) {
  uint64_t hot = 0, all = 0;
  for (const std::vector<uint64_t>& fired : counts.fired) {
    const auto count = static_cast<ptrdiff_t>(part * static_cast<double>(fired.size()));
    hot = std::accumulate(fired.begin(), fired.begin() + count, hot);
    all = std::accumulate(fired.begin(), fired.end(), all);
  }
  return all == 0 ? 0 : static_cast<double>(hot) / static_cast<double>(all);
}

}  // namespace

Result<NeuronCounts> count_neurons(const Rwkv7& model, std::span<const uint32_t> ids,
                                   const NeuronOrder& order, uint32_t chunk_tokens) {
  const Dimensions& dims = model.dims();
  if (ids.empty()) return error("neurons: expected at least one token id, found none");
  if (!order.layers.empty()) {
    SKEIN_RETURN_IF_ERROR(check_neuron_order(order, dims.num_layers, dims.num_hidden));
  }
  NeuronCounts counts = empty_counts(model, ids.size());
  SKEIN_ASSIGN_OR_RETURN(const State state, model.make_state(1));
  const auto max_tokens = static_cast<uint32_t>(std::min<size_t>(ids.size(), chunk_tokens));
  SKEIN_ASSIGN_OR_RETURN(const Workspace work,
                         model.make_workspace(max_tokens, 1, model.plan().activations));
  std::vector<float> f(max_tokens * work.f.stride_elems);
  for (size_t begin = 0; begin < ids.size(); begin += max_tokens) {
    const auto chunk = ids.subspan(begin, std::min<size_t>(max_tokens, ids.size() - begin));
    const Run run{0, 0, static_cast<uint32_t>(chunk.size())};
    Status download;
    // A layer's f stays until the next layer's ffn_key.
    const auto after_layer = [&](uint32_t layer) {
      if (!download) return;
      download = model.backend().download(*work.f.buffer, work.f.offset_elems * sizeof(float),
                                          std::as_writable_bytes(std::span(f)));
      if (!download) return;
      std::span<const uint32_t> of_layer;
      if (!order.layers.empty()) of_layer = order.layers[layer];
      for (size_t t = 0; t < chunk.size(); ++t) {
        add_token({f.data() + t * work.f.stride_elems, dims.num_hidden}, of_layer, layer, counts);
      }
    };
    SKEIN_RETURN_IF_ERROR(model.forward({chunk, {&run, 1}, {}}, state, work, after_layer));
    SKEIN_RETURN_IF_ERROR(download);
  }
  return counts;
}

void add_counts(const NeuronCounts& more, NeuronCounts& counts) {
  const auto add = [](const std::vector<uint64_t>& from, std::vector<uint64_t>& to) {
    CHECK(from.size() == to.size());
    std::transform(from.begin(), from.end(), to.begin(), to.begin(), std::plus<>());
  };
  CHECK(more.fired.size() == counts.fired.size() && more.block_cols == counts.block_cols);
  counts.num_tokens += more.num_tokens;
  for (size_t layer = 0; layer < counts.fired.size(); ++layer) {
    add(more.fired[layer], counts.fired[layer]);
  }
  add(more.runs, counts.runs);
  add(more.blocks, counts.blocks);
}

NeuronOrder order_by_frequency(const NeuronCounts& counts) {
  NeuronOrder order;
  for (const std::vector<uint64_t>& fired : counts.fired) {
    std::vector<uint32_t>& layer = order.layers.emplace_back(fired.size());
    std::iota(layer.begin(), layer.end(), 0u);
    std::stable_sort(layer.begin(), layer.end(),
                     [&](uint32_t a, uint32_t b) { return fired[a] > fired[b]; });
  }
  return order;
}

NeuronSummary summarize(const Rwkv7& model, const NeuronCounts& counts) {
  const auto num_tokens = static_cast<double>(counts.num_tokens);
  const auto num_layers = static_cast<double>(counts.fired.size());
  double fired = 0, never = 0, runs = 0, bytes = 0;
  for (size_t layer = 0; layer < counts.fired.size(); ++layer) {
    const auto& of_layer = counts.fired[layer];
    fired += static_cast<double>(std::accumulate(of_layer.begin(), of_layer.end(), uint64_t{0}));
    never += static_cast<double>(std::count(of_layer.begin(), of_layer.end(), 0u));
    runs += static_cast<double>(counts.runs[layer]);
    bytes += value_bytes(model.weights().layers[layer].ffn_value, counts, layer);
  }
  const double num_neurons = num_layers * static_cast<double>(model.dims().num_hidden);
  return {fired / (num_neurons * num_tokens),
          never / num_neurons,
          first_share(counts, 0.1),
          first_share(counts, 0.2),
          first_share(counts, 0.5),
          runs / (num_layers * num_tokens),
          bytes / num_tokens};
}

}  // namespace skein
