#include "backend/webgpu/steps.h"

#include <algorithm>

#include "backend/webgpu/weights_text.h"
#include "base/bits.h"

namespace skein::webgpu {
namespace {

constexpr std::string_view kBatchType = "array<vec4<u32>>";
constexpr uint32_t kNormThreads = 256;
constexpr uint32_t kWkvParts = 4;  // threads that share one value index of a head
constexpr uint32_t kLongRun = 8;   // tokens from which on one thread has it all

// The values that say where an activation is: NAME, NAME_OFFSET, NAME_STRIDE.
Status bind_activation(std::string_view name, const Activation& activation, uint64_t num_rows,
                       Access access, Bindings& bindings, ShaderValues& values) {
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place place,
                         bindings.activation(activation, num_rows, access));
  values.set(name, place.name);
  values.set(fmt::format("{}_OFFSET", name), place.offset_bytes / sizeof(float));
  values.set(fmt::format("{}_STRIDE", name), activation.stride_elems);
  return {};
}

Status bind_batch(const GpuBuffer& buffer, Bindings& bindings, ShaderValues& values) {
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place place,
                         bindings.range(buffer, 0, buffer.num_bytes(), Access::kRead, kBatchType));
  values.set("BATCH", place.name);
  values.set("TOKENS_AT", kBatchTokensAt);
  return {};
}

// One layer of the state, all slots.
Status bind_state(const LayerArgs& args, Bindings& bindings, ShaderValues& values) {
  const State& state = args.state;
  const uint64_t begin = state.offset_elems(args.layer, 0) * sizeof(float);
  const uint64_t stride = state.mapping.elems_per_layer();
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place place,
                         bindings.range(gpu_buffer(*state.buffer), begin,
                                        begin + state.num_slots * stride * sizeof(float),
                                        Access::kWrite, "array<f32>"));
  // Layers begin at multiples of C * 4 bytes, which are multiples of 256.
  CHECK(place.offset_bytes == 0);
  values.set("STATE", place.name);
  values.set("STATE_STRIDE", stride);
  return {};
}

void set_vector(std::string_view name, const Tensor& vector, const Bindings& bindings,
                ShaderValues& values) {
  const Bindings::Place place = bindings.weights(codes_range(vector));
  values.set(name, place.name);
  values.set(fmt::format("{}_BASE", name), place.offset_bytes / 16);
}

Result<Kernel> finish(std::string_view label, std::string_view file, Bindings bindings,
                      ShaderText shader, const ShaderValues& values, uint64_t x, uint64_t y,
                      const GpuLimits& limits) {
  SKEIN_RETURN_IF_ERROR(shader.add_file(file, values));
  if (x > limits.max_groups || y > limits.max_groups) {
    return error("{}: expected at most {} workgroups in a dimension, found {}", label,
                 limits.max_groups, std::max(x, y));
  }
  return Kernel{std::string(label), std::move(shader), std::move(bindings),
                static_cast<uint32_t>(x), static_cast<uint32_t>(y)};
}

// What lib/row_norm.wgsl and lib/reduce.wgsl need: the row, and what is still to be added to it.
Status bind_row(const Activation& x, uint64_t num_rows, const PendingSums& pending, uint64_t cols,
                const GpuLimits& limits, Bindings& bindings, ShaderValues& values) {
  const bool in_quads = x.offset_elems % 4 == 0 && (num_rows <= 1 || x.stride_elems % 4 == 0);
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place place,
                         bindings.activation(x, num_rows, Access::kRead, in_quads));
  values.set("X", place.name);
  values.set("X_OFFSET", place.offset_bytes / sizeof(float));
  values.set("X_STRIDE", x.stride_elems);
  values.set("X_QUADS", in_quads ? 1 : 0);
  values.set("SPLITS", pending.num_splits);
  if (pending.num_splits > 0) {
    SKEIN_ASSIGN_OR_RETURN(
        const Bindings::Place sums,
        bindings.activation(*pending.sums, num_rows * pending.num_splits, Access::kRead, true));
    CHECK(sums.offset_bytes == 0);
    values.set("SUMS", sums.name);
  }
  values.set("COLS", cols);
  values.set("EPS", number(kLayerNormEps));
  values.set("GROUP_THREADS", kNormThreads);
  values.set("PARTIALS", 2 * kNormThreads);
  values.set("NORM_LOADS", ceil_div<uint64_t>(cols, 4 * kNormThreads));
  values.set("HAS_SUBGROUPS", limits.has_subgroups ? 1 : 0);
  return {};
}

enum class NormInput : uint8_t { kEmbedding, kHostRows, kLogits };

struct NormArgs {
  NormInput input;
  const Tensor* weight;
  const Tensor* bias;
  const Tensor* emb = nullptr;      // kEmbedding
  const Activation* x = nullptr;    // kHostRows, kLogits
  const Activation* out = nullptr;  // one row a row
  const GpuBuffer* batch = nullptr;
  uint64_t num_rows = 0;
  uint64_t num_input_rows = 0;
  PendingSums pending = {};
  const GpuBuffer* draws = nullptr;  // kEmbedding: the row is that of the token drawn last
};

Result<Kernel> norm_kernel(std::string_view label, const NormArgs& args, const GpuLimits& limits) {
  Bindings bindings(limits);
  ShaderValues values;
  ShaderText shader;
  std::vector<ByteRange> ranges = {codes_range(*args.weight), codes_range(*args.bias)};
  if (args.emb != nullptr) {
    ranges.push_back(codes_range(*args.emb));
    // In a codec of ggml: none has a table.
    if (is_quantized(args.emb->dtype())) ranges.push_back(scales_range(*args.emb));
  }
  SKEIN_RETURN_IF_ERROR(bindings.add_weights(ranges));
  if (args.emb != nullptr) {
    SKEIN_RETURN_IF_ERROR(add_dtype_text(args.emb->dtype(), {}, shader));
    SKEIN_RETURN_IF_ERROR(add_only_weights_text(*args.emb, bindings, values, shader));
  }
  set_vector("LN_WEIGHT", *args.weight, bindings, values);
  set_vector("LN_BIAS", *args.bias, bindings, values);
  if (args.x != nullptr) {
    SKEIN_RETURN_IF_ERROR(bind_row(*args.x, args.num_input_rows, args.pending, args.weight->cols(),
                                   limits, bindings, values));
  }
  SKEIN_RETURN_IF_ERROR(
      bind_activation("OUT", *args.out, args.num_rows, Access::kWrite, bindings, values));
  if (args.batch != nullptr) {
    SKEIN_RETURN_IF_ERROR(bind_batch(*args.batch, bindings, values));
  }
  values.set("IS_EMBEDDING", args.input == NormInput::kEmbedding ? 1 : 0);
  values.set("IS_DRAWN", args.draws != nullptr ? 1 : 0);
  if (args.draws != nullptr) {
    SKEIN_ASSIGN_OR_RETURN(
        const Bindings::Place place,
        bindings.range(*args.draws, 0, args.draws->num_bytes(), Access::kRead, "array<u32>"));
    values.set("DRAWS", place.name);
  }
  values.set("IS_HOST_ROWS", args.input == NormInput::kHostRows ? 1 : 0);
  values.set("IS_LOGITS", args.input == NormInput::kLogits ? 1 : 0);
  values.set("GROUP_THREADS", kNormThreads);
  values.set("PARTIALS", 2 * kNormThreads);
  values.set("NORM_LOADS", ceil_div<uint64_t>(args.weight->cols(), 4 * kNormThreads));
  values.set("HAS_SUBGROUPS", limits.has_subgroups ? 1 : 0);
  values.set("COLS", args.weight->cols());
  values.set("EPS", number(kLayerNormEps));
  return finish(label, "norm.wgsl", std::move(bindings), std::move(shader), values, args.num_rows,
                1, limits);
}

// The weights of a mix: those of the attention or of the ffn.
struct MixWeights {
  const Tensor *weight, *bias, *mix;
  uint32_t num_mixes;
  uint64_t shift;  // in the state
};

MixWeights mix_weights(const LayerArgs& args, bool is_ffn) {
  const LayerWeights& w = args.weights;
  const StateMapping& mapping = args.state.mapping;
  return is_ffn ? MixWeights{&w.ln2_weight, &w.ln2_bias, &w.ffn_mix, 1, mapping.ffn_shift()}
                : MixWeights{&w.ln1_weight, &w.ln1_bias, &w.mix, kNumMixes, mapping.att_shift()};
}

// What both kernels of a mix need.
Status start_mix(const LayerArgs& args, const MixWeights& w, const Activation& x,
                 const GpuBuffer& batch_buffer, const PendingSums& pending, const GpuLimits& limits,
                 Bindings& bindings, ShaderValues& values) {
  const ByteRange ranges[] = {codes_range(*w.weight), codes_range(*w.bias), codes_range(*w.mix)};
  SKEIN_RETURN_IF_ERROR(bindings.add_weights(ranges));
  set_vector("LN_WEIGHT", *w.weight, bindings, values);
  set_vector("LN_BIAS", *w.bias, bindings, values);
  const Bindings::Place mix = bindings.weights(codes_range(*w.mix));
  values.set("MIX", mix.name);
  values.set("MIX_BASE", mix.offset_bytes / sizeof(float));
  values.set("MIX_STRIDE", w.num_mixes == 1 ? 0 : w.mix->mapping()(1, 0));
  SKEIN_RETURN_IF_ERROR(
      bind_row(x, args.batch.num_tokens(), pending, args.dims.num_emb, limits, bindings, values));
  SKEIN_RETURN_IF_ERROR(bind_state(args, bindings, values));
  SKEIN_RETURN_IF_ERROR(bind_batch(batch_buffer, bindings, values));
  values.set("SHIFT", w.shift);
  values.set("NUM_MIXES", w.num_mixes);
  return {};
}

}  // namespace

std::vector<uint32_t> pack_batch(const Batch& batch) {
  const uint32_t num_tokens = batch.num_tokens();
  const auto num_runs = static_cast<uint32_t>(batch.runs.size());
  const auto num_logits = static_cast<uint32_t>(batch.logit_tokens.size());
  const uint32_t runs_at = kBatchTokensAt + num_tokens, logits_at = runs_at + num_runs;
  std::vector<uint32_t> words = {num_tokens, num_runs, runs_at, logits_at, num_logits, 0, 0, 0};
  words.reserve((logits_at + num_logits) * 4);
  for (const Run& run : batch.runs) {
    for (uint32_t t = run.first_token; t < run.first_token + run.num_tokens; ++t) {
      words.insert(words.end(),
                   {batch.ids[t], run.slot, run.first_token, run.first_token + run.num_tokens - 1});
    }
  }
  for (const Run& run : batch.runs) {
    words.insert(words.end(), {run.slot, run.first_token, run.num_tokens, 0});
  }
  for (const uint32_t token : batch.logit_tokens) words.insert(words.end(), {token, 0, 0, 0});
  return words;
}

Result<Kernel> embed_kernel(const Tensor& emb, const Weights& weights, const Batch& batch,
                            const GpuBuffer& batch_buffer, const Workspace& work,
                            const GpuLimits& limits) {
  NormArgs args{NormInput::kEmbedding, &weights.ln0_weight, &weights.ln0_bias};
  args.emb = &emb;
  if (batch.draws != nullptr) args.draws = &gpu_buffer(*batch.draws);
  args.out = &work.x;
  args.batch = &batch_buffer;
  args.num_rows = batch.num_tokens();
  Result<Kernel> kernel = norm_kernel("embed", args, limits);
  if (kernel) kernel->checks_bounds = true;
  return kernel;
}

Result<Kernel> embed_rows_kernel(const Dimensions& /*dims*/, const Weights& weights,
                                 const Batch& batch, const Activation& rows, const Workspace& work,
                                 const GpuLimits& limits) {
  NormArgs args{NormInput::kHostRows, &weights.ln0_weight, &weights.ln0_bias};
  args.x = &rows;
  args.out = &work.x;
  args.num_rows = args.num_input_rows = batch.num_tokens();
  return norm_kernel("embed", args, limits);
}

Result<Kernel> head_norm_kernel(const Dimensions& /*dims*/, const Weights& weights,
                                const Batch& batch, const GpuBuffer& batch_buffer,
                                const Activation& x, const PendingSums& pending,
                                const Workspace& work, const GpuLimits& limits) {
  NormArgs args{NormInput::kLogits, &weights.ln_out_weight, &weights.ln_out_bias};
  args.x = &x;
  args.pending = pending;
  args.out = &work.y;
  args.batch = &batch_buffer;
  args.num_rows = batch.logit_tokens.size();
  args.num_input_rows = batch.num_tokens();
  return norm_kernel("head norm", args, limits);
}

Result<std::vector<Kernel>> mix_kernels(const LayerArgs& args, bool is_ffn, const Activation& x,
                                        const PendingSums& pending, const GpuBuffer& batch_buffer,
                                        const GpuLimits& limits) {
  const MixWeights w = mix_weights(args, is_ffn);
  const uint32_t num_tokens = args.batch.num_tokens();
  const bool is_single = args.batch.runs.size() == num_tokens;
  std::vector<Kernel> kernels;
  {
    Bindings bindings(limits);
    ShaderValues values;
    SKEIN_RETURN_IF_ERROR(start_mix(args, w, x, batch_buffer, pending, limits, bindings, values));
    if (pending.num_splits > 0) {
      SKEIN_RETURN_IF_ERROR(
          bind_activation("X_OUT", *pending.x_out, num_tokens, Access::kWrite, bindings, values));
    }
    values.set("SINGLE", is_single ? 1 : 0);
    for (uint32_t c = 0; c < w.num_mixes; ++c) {
      const Activation& out = is_ffn ? args.work.z : args.work.mixed[c];
      SKEIN_ASSIGN_OR_RETURN(const Bindings::Place place,
                             bindings.activation(out, num_tokens, Access::kWrite));
      values.set(fmt::format("OUT_{}", c), place.name);
      values.set(fmt::format("OUT_OFFSET_{}", c), place.offset_bytes / sizeof(float));
      values.set("OUT_STRIDE", out.stride_elems);
    }
    SKEIN_ASSIGN_OR_RETURN(
        Kernel kernel,
        finish(is_ffn ? "mix" : "mix6", "mix.wgsl", std::move(bindings), {}, values,
               ceil_div<uint32_t>(args.dims.num_emb, kNormThreads), num_tokens, limits));
    kernels.push_back(std::move(kernel));
  }
  if (!is_single) {
    Bindings bindings(limits);
    ShaderValues values;
    SKEIN_RETURN_IF_ERROR(start_mix(args, w, x, batch_buffer, pending, limits, bindings, values));
    SKEIN_ASSIGN_OR_RETURN(Kernel kernel, finish("shift", "shift.wgsl", std::move(bindings), {},
                                                 values, args.batch.runs.size(), 1, limits));
    kernels.push_back(std::move(kernel));
  }
  return kernels;
}

Result<Kernel> wkv_kernel(const LayerArgs& args, const GpuBuffer& batch_buffer,
                          const GpuLimits& limits) {
  const LayerWeights& w = args.weights;
  const Workspace& work = args.work;
  const StateMapping& mapping = args.state.mapping;
  const uint32_t num_tokens = args.batch.num_tokens();
  Bindings bindings(limits);
  ShaderValues values;
  const std::pair<std::string_view, const Tensor*> parameters[] = {{"K_K", &w.k_k},
                                                                   {"K_A", &w.k_a},
                                                                   {"R_K", &w.r_k},
                                                                   {"LN_X_WEIGHT", &w.ln_x_weight},
                                                                   {"LN_X_BIAS", &w.ln_x_bias}};
  std::vector<ByteRange> ranges;
  for (const auto& [name, tensor] : parameters) ranges.push_back(codes_range(*tensor));
  SKEIN_RETURN_IF_ERROR(bindings.add_weights(ranges));
  for (const auto& [name, tensor] : parameters) set_vector(name, *tensor, bindings, values);
  const std::pair<std::string_view, const Activation*> inputs[] = {{"R", &work.r}, {"W", &work.w},
                                                                   {"K", &work.k}, {"V", &work.v},
                                                                   {"A", &work.a}, {"G", &work.g}};
  for (const auto& [name, activation] : inputs) {
    SKEIN_RETURN_IF_ERROR(
        bind_activation(name, *activation, num_tokens, Access::kRead, bindings, values));
  }
  SKEIN_RETURN_IF_ERROR(bind_activation("Y", work.y, num_tokens, Access::kWrite, bindings, values));
  SKEIN_RETURN_IF_ERROR(bind_state(args, bindings, values));
  SKEIN_RETURN_IF_ERROR(bind_batch(batch_buffer, bindings, values));
  // The state's order as strides, from its one definition.
  values.set("STATE_BASE", mapping.wkv(0, 0, 0));
  values.set("STATE_KEY", mapping.wkv(0, 1, 0) - mapping.wkv(0, 0, 0));
  values.set("STATE_VALUE", mapping.wkv(0, 0, 1) - mapping.wkv(0, 0, 0));
  values.set("STATE_HEAD",
             args.dims.num_heads > 1 ? mapping.wkv(1, 0, 0) - mapping.wkv(0, 0, 0) : 0);
  values.set("HEAD_SIZE", args.dims.head_size);
  values.set("PARTS", kWkvParts);
  values.set("PART_QUADS", args.dims.head_size / 4 / kWkvParts);
  values.set("GROUP_THREADS", kWkvParts * args.dims.head_size);
  values.set("HEAD_QUADS", args.dims.head_size / 4);
  values.set("NORMALIZE_EPS", number(kNormalizeEps));
  values.set("GN_EPS", number(kGroupNormEps));
  values.set("TWO_HEADS_QUADS", 2 * args.dims.head_size / 4);
  const bool is_long = num_tokens >= kLongRun * args.batch.runs.size();
  const char* file = is_long ? "wkv_long.wgsl" : "wkv.wgsl";
  return finish("wkv", file, std::move(bindings), {}, values, args.dims.num_heads,
                args.batch.runs.size(), limits);
}

}  // namespace skein::webgpu
