#include "model/rwkv7.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <utility>

#include "base/bits.h"
#include "base/check.h"

namespace skein {
namespace {

Status check_batch(const Dimensions& dims, const Batch& batch, const State& state,
                   const Workspace& work) {
  CHECK(batch.num_tokens() >= 1 && batch.num_tokens() <= work.max_tokens);
  CHECK(batch.logit_tokens.size() <= work.max_logits);
  uint32_t next = 0;
  std::vector<bool> used(state.num_slots);
  for (const Run& run : batch.runs) {
    CHECK(run.first_token == next && run.num_tokens >= 1);
    CHECK(run.slot < state.num_slots && !used[run.slot]);
    used[run.slot] = true;
    next += run.num_tokens;
  }
  CHECK(next == batch.num_tokens());
  // Strictly ascending, so that there are no more of them than tokens.
  CHECK(std::adjacent_find(batch.logit_tokens.begin(), batch.logit_tokens.end(),
                           std::greater_equal<>()) == batch.logit_tokens.end());
  CHECK(batch.logit_tokens.empty() || batch.logit_tokens.back() < batch.num_tokens());
  for (uint32_t id : batch.ids) {
    if (id >= dims.num_vocab)
      return error("token id: expected 0 to {}, found {}", dims.num_vocab - 1, id);
  }
  return {};
}

// One buffer of `count` activations of [max_tokens][num_cols], one after the other.
Status make_activations(Backend& backend, uint64_t max_tokens, uint32_t num_cols,
                        std::span<Activation> out) {
  // Never zero bytes: a model without rank_v still has a low_v, which nothing reads.
  const uint64_t elems_each = std::max<uint64_t>(max_tokens * num_cols, 1);
  SKEIN_ASSIGN_OR_RETURN(const auto buffer,
                         backend.allocate(elems_each * out.size() * sizeof(float)));
  for (size_t i = 0; i < out.size(); ++i) out[i] = {buffer, i * elems_each, num_cols, num_cols};
  return {};
}

// The four low-rank activations, [max_tokens][rank]. Packed, those of a token lie side by side, so
// that products of them are twins (backend/webgpu/bodies.h).
Status make_low_activations(Backend& backend, uint64_t max_tokens, const Dimensions& dims,
                            ActivationLayout layout, Workspace& work) {
  constexpr uint32_t kGrain = 64;  // floats: 256 B, a multiple of which a device's bindings want
  const std::pair<uint32_t, Activation*> all[] = {{dims.rank_w, &work.low_w},
                                                  {dims.rank_a, &work.low_a},
                                                  {dims.rank_v, &work.low_v},
                                                  {dims.rank_g, &work.low_g}};
  if (layout == ActivationLayout::kSeparate) {
    for (const auto& [rank, out] : all) {
      SKEIN_RETURN_IF_ERROR(make_activations(backend, max_tokens, rank, {out, 1}));
    }
    return {};
  }
  uint32_t stride = 0;
  for (const auto& [rank, out] : all) stride += round_up(rank, kGrain);
  Activation packed;
  SKEIN_RETURN_IF_ERROR(make_activations(backend, max_tokens, stride, {&packed, 1}));
  for (const auto& [rank, out] : all) {
    *out = packed;
    out->num_cols = rank;
    packed.offset_elems += round_up(rank, kGrain);
  }
  return {};
}

}  // namespace

void Rwkv7::set_reports(std::vector<WeightReport> reports, const std::string& path) {
  reports_ = std::move(reports);
  plan_.file_dtypes = file_dtypes_of(reports_);
  std::array<uint64_t, kAllDTypes.size()> elems_of_dtype{};
  std::map<std::string_view, uint64_t> elems_of_type;
  for (const WeightReport& report : reports_) {
    const uint64_t num_elems = report.rows * report.cols;
    num_parameters_ += num_elems;
    elems_of_dtype[static_cast<size_t>(report.file_dtype)] += num_elems;
    elems_of_type[report.file_type] += num_elems;
  }
  const auto most = std::max_element(elems_of_dtype.begin(), elems_of_dtype.end());
  file_dtype_ = static_cast<DType>(most - elems_of_dtype.begin());
  file_type_ = std::max_element(elems_of_type.begin(), elems_of_type.end(),
                                [](const auto& a, const auto& b) { return a.second < b.second; })
                   ->first;
  if (auto warning = padding_warning(reports_, path)) warnings_.push_back(*std::move(warning));
}

uint64_t Rwkv7::bytes_per_token() const noexcept {
  uint64_t bytes = 0;
  for (const WeightReport& report : reports_) {
    if (report.group != WeightGroup::kEmbedding) bytes += report.num_bytes;
  }
  const Tensor& emb = weights_.emb;
  return bytes + emb.cols() * element_bits(emb.dtype()) / 8;
}

Result<State> Rwkv7::make_state(uint32_t num_slots) const {
  CHECK(num_slots >= 1);
  State state;
  state.mapping = {backend_.state_layout(), dims_.num_heads, dims_.head_size};
  state.num_layers = dims_.num_layers;
  state.num_slots = num_slots;
  SKEIN_ASSIGN_OR_RETURN(state.buffer, backend_.allocate(state.num_elems() * sizeof(float)));
  return state;
}

Result<Workspace> Rwkv7::make_workspace(uint32_t max_tokens, uint32_t max_logits,
                                        ActivationLayout layout) const {
  CHECK(max_tokens >= 1);
  Workspace work;
  work.max_tokens = max_tokens;
  work.max_logits = max_logits;
  work.activation_layout = layout;
  const uint32_t C = dims_.num_emb;
  const auto make = [&](uint32_t num_cols, Activation& out) {
    return make_activations(backend_, max_tokens, num_cols, {&out, 1});
  };
  if (layout == ActivationLayout::kPacked) {
    SKEIN_RETURN_IF_ERROR(make_activations(backend_, max_tokens, C, work.mixed));
  } else {
    for (Activation& mixed : work.mixed) SKEIN_RETURN_IF_ERROR(make(C, mixed));
  }
  for (Activation* out : {&work.x, &work.r, &work.k, &work.v, &work.w, &work.a, &work.g,
                          &work.v_first, &work.y, &work.z}) {
    SKEIN_RETURN_IF_ERROR(make(C, *out));
  }
  SKEIN_RETURN_IF_ERROR(make_low_activations(backend_, max_tokens, dims_, layout, work));
  SKEIN_RETURN_IF_ERROR(make(dims_.num_hidden, work.f));
  SKEIN_RETURN_IF_ERROR(make_activations(backend_, max_logits, dims_.num_vocab, {&work.logits, 1}));
  return work;
}

Status Rwkv7::forward(const Batch& batch, const State& state, const Workspace& work,
                      const std::function<void(uint32_t layer)>& after_layer) const {
  SKEIN_RETURN_IF_ERROR(submit(batch, state, work, after_layer));
  return backend_.finish();
}

Status Rwkv7::submit(const Batch& batch, const State& state, const Workspace& work,
                     const std::function<void(uint32_t layer)>& after_layer) const {
  SKEIN_RETURN_IF_ERROR(check_batch(dims_, batch, state, work));
  backend_.embed(dims_, weights_, batch, work);
  for (uint32_t layer = 0; layer < dims_.num_layers; ++layer) {
    const LayerArgs args{dims_, weights_.layers[layer], layer, batch, state, work};
    backend_.mix6(args);
    backend_.project_in(args);
    backend_.project_out(args);
    backend_.wkv(args);
    backend_.output(args);
    backend_.mix(args);
    backend_.ffn_key(args);
    backend_.ffn_value(args);
    if (after_layer) after_layer(layer);
  }
  if (!batch.logit_tokens.empty()) backend_.head(dims_, weights_, batch, work);
  return backend_.submit();
}

}  // namespace skein
