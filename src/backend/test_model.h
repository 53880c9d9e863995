// Random models, states, workspaces and batches for tests and benchmarks of any backend.
//
// Goals: the same seed gives the same numbers in every dtype-preserving layout and on every
// backend, so that two backends can be compared; all memory that is no element is a poison that a
// comparison would notice (a NaN with a payload: poison to whoever reads it, a canary to whoever
// writes over it). Non-goals: production use; model/ has its own builders. An allocation that fails
// is a CHECK here.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/test_quant.h"
#include "base/float16.h"

namespace skein::testing {

inline constexpr uint32_t kPoisonBits = 0x7fc5ce1e;  // f32: a quiet NaN with a payload
inline constexpr std::byte kPoisonByte{0xff};        // f32, f16 and bf16 of these bytes are NaN

// By its bits, since NaN equals nothing.
inline bool is_poison(float value) { return std::bit_cast<uint32_t>(value) == kPoisonBits; }

// Uniform numbers; the same on every platform, unlike std::uniform_real_distribution.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // In [low, high).
  float uniform(float low, float high) {
    const double unit = static_cast<double>(engine_() >> 11) * 0x1p-53;
    return static_cast<float>(static_cast<double>(low) + unit * static_cast<double>(high - low));
  }
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>(engine_() % bound); }

 private:
  std::mt19937_64 engine_;
};

// Head size 64, 4C hidden; ranks that are no multiples of a vector where `num_emb` is small.
inline Dimensions test_dimensions(uint32_t num_emb, uint32_t num_layers = 2,
                                  uint32_t num_vocab = 131) {
  Dimensions dims;
  dims.num_layers = num_layers;
  dims.num_emb = num_emb;
  dims.num_hidden = 4 * num_emb;
  dims.num_heads = num_emb / 64;
  dims.head_size = 64;
  dims.num_vocab = num_vocab;
  dims.rank_w = 32;
  dims.rank_a = 24;
  dims.rank_v = 20;
  dims.rank_g = 40;
  return dims;
}

// How the matrices lie. Where `dtype` is quantized, the embedding, which never is, is f16.
struct WeightFormat {
  DType dtype = DType::kF16;
  Layout emb = Layout::row_major();
  Layout dense = Layout::row_major();
  Layout ffn_value = Layout::col_major();
};

// Builds the tensors of one model. Numbers are drawn in the order of the calls, so the order below
// is part of a seed.
class WeightBuilder {
 public:
  WeightBuilder(Backend& backend, const WeightFormat& format, uint64_t seed)
      : backend_(backend), format_(format), random_(seed) {}

  // Values in centre +- spread, rounded to f16 so that f16 and f32 models hold the same ones.
  Tensor tensor(uint64_t rows, uint64_t cols, float centre, float spread, DType dtype,
                const Layout& layout) {
    Result<AnyMapping> mapping = make_mapping(layout, {rows, cols}, element_bits(dtype));
    CHECK(mapping.has_value());
    std::vector<std::byte> bytes(Tensor::span_bytes_of(*mapping, dtype), kPoisonByte);
    std::vector<float> values(cols);
    for (uint64_t row = 0; row < rows; ++row) {
      for (float& value : values) {
        value = f32_from(f16_from(random_.uniform(centre - spread, centre + spread)));
      }
      store_row(values, dtype, *mapping, row, bytes);
    }
    Result<std::shared_ptr<Buffer>> buffer = backend_.allocate(bytes.size());
    CHECK(buffer.has_value() && backend_.upload(**buffer, 0, bytes).has_value());
    return Tensor(*std::move(buffer), 0, dtype, *std::move(mapping));
  }

  // f32 `row_major`, as steps want vectors. The rows are 64 B apart for more than one.
  Tensor vector(uint64_t cols, float centre, float spread, uint64_t rows = 1) {
    return tensor(rows, cols, centre, spread, DType::kF32, Layout::row_major(64));
  }

  // Outputs of about the inputs' size: the spread is sqrt(3 / cols), times `gain`.
  Tensor matrix(uint64_t rows, uint64_t cols, float centre = 0, float gain = 1) {
    return tensor(rows, cols, centre, spread_of(cols) * gain, format_.dtype, format_.dense);
  }

  Tensor emb(const Dimensions& dims) {
    const DType dtype = is_quantized(format_.dtype) ? DType::kF16 : format_.dtype;
    return tensor(dims.num_vocab, dims.num_emb, 0, 0.5f, dtype, format_.emb);
  }
  Tensor ffn_value(const Dimensions& dims) {
    return tensor(dims.num_emb, dims.num_hidden, 0, spread_of(dims.num_hidden), format_.dtype,
                  format_.ffn_value);
  }

  LayerWeights layer(const Dimensions& dims, uint32_t index);

 private:
  static float spread_of(uint64_t cols) { return std::sqrt(3.0f / static_cast<float>(cols)); }

  static void store_row(std::span<float> values, DType dtype, const AnyMapping& mapping,
                        uint64_t row, std::span<std::byte> bytes) {
    if (!is_quantized(dtype)) {
      for (uint64_t col = 0; col < values.size(); ++col) {
        store(values[col], dtype, mapping(row, col), bytes);
      }
      return;
    }
    for (uint64_t col = 0; col < values.size(); col += block_cols(dtype)) {
      const uint64_t count = std::min<uint64_t>(block_cols(dtype), values.size() - col);
      store_block(bytes.data(), mapping, dtype, row, col, values.subspan(col, count));
    }
  }

  static void store(float value, DType dtype, uint64_t index, std::span<std::byte> bytes) {
    const uint32_t f32 = std::bit_cast<uint32_t>(value);
    const uint16_t half = dtype == DType::kF16 ? f16_from(value).bits : bf16_from(value).bits;
    if (dtype == DType::kF32) {
      std::memcpy(bytes.data() + index * sizeof(f32), &f32, sizeof(f32));
    } else {
      std::memcpy(bytes.data() + index * sizeof(half), &half, sizeof(half));
    }
  }

  Backend& backend_;
  WeightFormat format_;
  Random random_;
};

inline LayerWeights WeightBuilder::layer(const Dimensions& dims, uint32_t index) {
  const uint32_t num_emb = dims.num_emb;
  LayerWeights w;
  w.ln1_weight = vector(num_emb, 1, 0.2f);
  w.ln1_bias = vector(num_emb, 0, 0.05f);
  w.mix = vector(num_emb, 0.5f, 0.5f, kNumMixes);
  w.receptance = matrix(num_emb, num_emb);
  w.key = matrix(num_emb, num_emb);
  w.value = matrix(num_emb, num_emb);
  w.output = matrix(num_emb, num_emb);
  w.w0 = vector(num_emb, -3.5f, 2.5f);
  w.a0 = vector(num_emb, 0, 1);
  w.w1 = matrix(dims.rank_w, num_emb);
  w.a1 = matrix(dims.rank_a, num_emb);
  w.g1 = matrix(dims.rank_g, num_emb);
  w.w2 = matrix(num_emb, dims.rank_w);
  w.a2 = matrix(num_emb, dims.rank_a);
  w.g2 = matrix(num_emb, dims.rank_g);
  if (index > 0) {
    w.v0 = vector(num_emb, 1, 0.5f);
    w.v1 = matrix(dims.rank_v, num_emb);
    w.v2 = matrix(num_emb, dims.rank_v);
  }
  w.k_k = vector(num_emb, 0.85f, 0.15f);
  w.k_a = vector(num_emb, 1, 0.2f);
  w.r_k = vector(num_emb, 0, 0.2f);
  w.ln_x_weight = vector(num_emb, 0.8f, 0.2f);
  w.ln_x_bias = vector(num_emb, 0, 0.02f);
  w.ln2_weight = vector(num_emb, 1, 0.2f);
  // Inputs with mean 1 against keys with mean -1.8 / C: about 90 % of relu(W_key z) is zero, as in
  // trained models.
  w.ln2_bias = vector(num_emb, 1, 0.05f);
  w.ffn_mix = vector(num_emb, 0.5f, 0.5f);
  w.ffn_key = matrix(dims.num_hidden, num_emb, -1.8f / static_cast<float>(num_emb));
  w.ffn_value = ffn_value(dims);
  return w;
}

// The same seed and dtype give the same numbers in any layout and backend; f16 and f32 too.
inline Weights random_weights(Backend& backend, const Dimensions& dims, const WeightFormat& format,
                              uint64_t seed) {
  WeightBuilder builder(backend, format, seed);
  Weights weights;
  weights.emb = builder.emb(dims);
  weights.ln0_weight = builder.vector(dims.num_emb, 1, 0.2f);
  weights.ln0_bias = builder.vector(dims.num_emb, 0, 0.05f);
  for (uint32_t i = 0; i < dims.num_layers; ++i) weights.layers.push_back(builder.layer(dims, i));
  weights.ln_out_weight = builder.vector(dims.num_emb, 1, 0.2f);
  weights.ln_out_bias = builder.vector(dims.num_emb, 0, 0.05f);
  weights.head = builder.matrix(dims.num_vocab, dims.num_emb);
  return weights;
}

// A state of zeros.
inline State zero_state(Backend& backend, const Dimensions& dims, uint32_t num_slots) {
  State state;
  state.mapping = {backend.state_layout(), dims.num_heads, dims.head_size};
  state.num_layers = dims.num_layers;
  state.num_slots = num_slots;
  Result<std::shared_ptr<Buffer>> buffer = backend.allocate(state.num_elems() * sizeof(float));
  CHECK(buffer.has_value());
  state.buffer = *std::move(buffer);
  return state;
}

// The state's numbers in `kHeadValueKey`, whatever the backend's order: [L][B][elems_per_layer].
inline std::vector<float> download_state(Backend& backend, const State& state) {
  std::vector<float> raw(state.num_elems()), out(state.num_elems());
  CHECK(backend.download(*state.buffer, 0, std::as_writable_bytes(std::span(raw))).has_value());
  StateMapping to = state.mapping;
  to.layout = StateLayout::kHeadValueKey;
  for (uint64_t at = 0; at < raw.size(); at += to.elems_per_layer()) {
    convert_state_layer(state.mapping, raw.data() + at, to, out.data() + at);
  }
  return out;
}

// The inverse: `values` are in `kHeadValueKey`.
inline void upload_state(Backend& backend, const State& state, std::span<const float> values) {
  std::vector<float> raw(state.num_elems());
  StateMapping from = state.mapping;
  from.layout = StateLayout::kHeadValueKey;
  for (uint64_t at = 0; at < raw.size(); at += from.elems_per_layer()) {
    convert_state_layer(from, values.data() + at, state.mapping, raw.data() + at);
  }
  CHECK(backend.upload(*state.buffer, 0, std::as_bytes(std::span(raw))).has_value());
}

// Calls f(name, activation) for every activation, in one order. Workspace may be const.
template <class W, class F>
void for_each_activation(W& work, F&& f) {
  constexpr std::array<std::string_view, kNumMixes> kMixedNames = {"mixed_r", "mixed_w", "mixed_k",
                                                                   "mixed_v", "mixed_a", "mixed_g"};
  f("x", work.x);
  for (uint32_t c = 0; c < kNumMixes; ++c) f(kMixedNames[c], work.mixed[c]);
  f("r", work.r), f("k", work.k), f("v", work.v);
  f("low_w", work.low_w), f("low_a", work.low_a), f("low_v", work.low_v), f("low_g", work.low_g);
  f("w", work.w), f("a", work.a), f("g", work.g);
  f("v_first", work.v_first), f("y", work.y), f("z", work.z), f("f", work.f);
  f("logits", work.logits);
}

// Rows are 64-byte aligned and `gap_elems` apart; every element and gap is poison. With kPacked the
// six mixed inputs are one buffer [6][T][C].
inline Workspace poisoned_workspace(Backend& backend, const Dimensions& dims, uint32_t max_tokens,
                                    uint32_t max_logits,
                                    ActivationLayout layout = ActivationLayout::kPacked,
                                    uint32_t gap_elems = 16) {
  const auto make = [&](uint32_t num_cols, uint64_t num_rows) {
    Activation activation;
    activation.num_cols = num_cols;
    activation.stride_elems = round_up<uint64_t>(num_cols, 16) + gap_elems;
    // One more row of poison behind the last.
    const std::vector<uint32_t> poison((num_rows + 1) * activation.stride_elems, kPoisonBits);
    Result<std::shared_ptr<Buffer>> buffer = backend.allocate(poison.size() * sizeof(uint32_t));
    CHECK(buffer.has_value());
    CHECK(backend.upload(**buffer, 0, std::as_bytes(std::span(poison))).has_value());
    activation.buffer = *std::move(buffer);
    return activation;
  };
  const uint32_t num_emb = dims.num_emb;
  Workspace work;
  work.max_tokens = max_tokens;
  work.max_logits = max_logits;
  work.activation_layout = layout;
  for (Activation* activation : {&work.x, &work.r, &work.k, &work.v, &work.w, &work.a, &work.g,
                                 &work.v_first, &work.y, &work.z}) {
    *activation = make(num_emb, max_tokens);
  }
  work.low_w = make(dims.rank_w, max_tokens);
  work.low_a = make(dims.rank_a, max_tokens);
  work.low_v = make(dims.rank_v, max_tokens);
  work.low_g = make(dims.rank_g, max_tokens);
  work.f = make(dims.num_hidden, max_tokens);
  work.logits = make(dims.num_vocab, max_logits);
  const Activation packed = make(num_emb, uint64_t{kNumMixes} * max_tokens);
  for (uint32_t c = 0; c < kNumMixes; ++c) {
    work.mixed[c] = layout == ActivationLayout::kPacked ? packed : make(num_emb, max_tokens);
    if (layout == ActivationLayout::kPacked) {
      work.mixed[c].offset_elems = uint64_t{c} * max_tokens * packed.stride_elems;
    }
  }
  return work;
}

// The whole buffer of an activation, gaps included.
inline std::vector<float> download_all(Backend& backend, const Activation& activation) {
  std::vector<float> all(activation.buffer->num_bytes() / sizeof(float));
  CHECK(
      backend.download(*activation.buffer, 0, std::as_writable_bytes(std::span(all))).has_value());
  return all;
}

// Writes `values` ([num_rows][num_cols], no gaps) to the activation's first rows.
inline void upload_rows(Backend& backend, const Activation& activation,
                        std::span<const float> values) {
  const uint64_t cols = activation.num_cols;
  for (uint64_t row = 0; row * cols < values.size(); ++row) {
    const uint64_t offset = activation.offset_elems + row * activation.stride_elems;
    CHECK(backend
              .upload(*activation.buffer, offset * sizeof(float),
                      std::as_bytes(values.subspan(row * cols, cols)))
              .has_value());
  }
}

// The first `num_rows` rows, without gaps.
inline std::vector<float> download_rows(Backend& backend, const Activation& activation,
                                        uint64_t num_rows) {
  const uint64_t cols = activation.num_cols;
  std::vector<float> values(num_rows * cols);
  for (uint64_t row = 0; row < num_rows; ++row) {
    const uint64_t offset = activation.offset_elems + row * activation.stride_elems;
    CHECK(backend
              .download(*activation.buffer, offset * sizeof(float),
                        std::as_writable_bytes(std::span(values).subspan(row * cols, cols)))
              .has_value());
  }
  return values;
}

// A batch with the memory that the spans of view() show.
struct TestBatch {
  std::vector<uint32_t> ids;
  std::vector<Run> runs;
  std::vector<uint32_t> logit_tokens;

  Batch view() const { return {ids, runs, logit_tokens}; }
};

// Runs of the given lengths on slots that count down, so that slot and position differ; logits for
// every token.
inline TestBatch random_batch(std::span<const uint32_t> run_lengths, uint32_t num_vocab,
                              uint64_t seed) {
  TestBatch batch;
  Random random(seed);
  uint32_t slot = static_cast<uint32_t>(run_lengths.size());
  for (const uint32_t length : run_lengths) {
    batch.runs.push_back({--slot, static_cast<uint32_t>(batch.ids.size()), length});
    for (uint32_t i = 0; i < length; ++i) {
      batch.logit_tokens.push_back(static_cast<uint32_t>(batch.ids.size()));
      batch.ids.push_back(random.below(num_vocab));
    }
  }
  return batch;
}

// The ten steps in order.
inline void forward(Backend& backend, const Dimensions& dims, const Weights& weights,
                    const State& state, const Batch& batch, const Workspace& work) {
  backend.embed(dims, weights, batch, work);
  for (uint32_t layer = 0; layer < dims.num_layers; ++layer) {
    const LayerArgs args{dims, weights.layers[layer], layer, batch, state, work};
    backend.mix6(args);
    backend.project_in(args);
    backend.project_out(args);
    backend.wkv(args);
    backend.output(args);
    backend.mix(args);
    backend.ffn_key(args);
    backend.ffn_value(args);
  }
  backend.head(dims, weights, batch, work);
}

}  // namespace skein::testing
