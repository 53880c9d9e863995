#include "engine/device_drawer.h"

#include <algorithm>

#include "engine/sampler.h"

namespace skein::internal {

Result<DeviceDrawer> DeviceDrawer::create(Session& session, const SamplerOptions& options) {
  SessionImpl& impl = *session.impl_;
  if (!impl.logits_place && impl.logits.empty()) return error("no logits to draw from");
  DeviceDrawer drawer(impl, options);
  const Rwkv7& rwkv7 = impl.rwkv7();
  Backend& backend = rwkv7.backend();
  SKEIN_ASSIGN_OR_RETURN(drawer.draws_, backend.make_draws(rwkv7.dims(), rwkv7.weights()));
  SKEIN_ASSIGN_OR_RETURN(drawer.state_before_,
                         backend.allocate(impl.state.num_elems() * sizeof(float)));
  SKEIN_ASSIGN_OR_RETURN(drawer.logits_before_,
                         backend.allocate(rwkv7.dims().num_vocab * sizeof(float)));
  return drawer;
}

// What rewind() goes back to: state and logits, copied on the device.
Status DeviceDrawer::snapshot() {
  Backend& backend = session_.rwkv7().backend();
  const uint64_t logits_bytes = session_.rwkv7().dims().num_vocab * sizeof(float);
  num_tokens_before_ = session_.num_tokens;
  SKEIN_RETURN_IF_ERROR(backend.copy(*session_.state.buffer, 0, *state_before_,
                                     session_.state.num_elems() * sizeof(float)));
  if (!session_.logits_place) {
    return backend.upload(*logits_before_, 0, std::as_bytes(std::span(session_.logits)));
  }
  return backend.copy(*session_.logits_place->buffer,
                      session_.logits_place->offset_elems * sizeof(float), *logits_before_,
                      logits_bytes);
}

Result<std::span<const uint32_t>> DeviceDrawer::draw(uint32_t count) {
  const Rwkv7& rwkv7 = session_.rwkv7();
  Backend& backend = rwkv7.backend();
  count = std::min(count, draws_.num_slots);
  SKEIN_RETURN_IF_ERROR(session_.device_status);
  SKEIN_RETURN_IF_ERROR(snapshot());
  std::vector<float> uniforms(count);
  for (float& value : uniforms) value = static_cast<float>(next_uniform(random_));
  const uint32_t first_slot = 0;
  SKEIN_RETURN_IF_ERROR(
      backend.upload(*draws_.buffer, draws_.cursor_at, std::as_bytes(std::span(&first_slot, 1))));
  SKEIN_RETURN_IF_ERROR(
      backend.upload(*draws_.buffer, draws_.uniforms_at, std::as_bytes(std::span(uniforms))));
  SKEIN_ASSIGN_OR_RETURN(const Workspace* work, session_.workspace(1, 1));
  const uint32_t num_vocab = rwkv7.dims().num_vocab;
  Activation logits = {logits_before_, 0, num_vocab, num_vocab};
  const uint32_t any_id = 0, first_token = 0;
  const Run run{0, 0, 1};
  Batch batch{{&any_id, 1}, {&run, 1}, {&first_token, 1}};
  batch.draws = draws_.buffer.get();
  for (uint32_t i = 0; i < count; ++i) {
    backend.draw(rwkv7.dims(), options_, logits, draws_);
    SKEIN_RETURN_IF_ERROR(rwkv7.submit(batch, session_.state, *work));
    logits = work->logits;
  }
  ids_.resize(count);
  session_.device_status =
      backend.download(*draws_.buffer, draws_.ids_at, std::as_writable_bytes(std::span(ids_)));
  SKEIN_RETURN_IF_ERROR(session_.device_status);
  session_.num_tokens += count;
  session_.logits_place = {work->logits.buffer, work->logits.offset_elems};
  return std::span<const uint32_t>(ids_);
}

Status DeviceDrawer::rewind(uint32_t count) {
  if (count == ids_.size()) return {};
  Backend& backend = session_.rwkv7().backend();
  SKEIN_RETURN_IF_ERROR(backend.copy(*state_before_, 0, *session_.state.buffer,
                                     session_.state.num_elems() * sizeof(float)));
  session_.num_tokens = num_tokens_before_;
  session_.logits_place = {logits_before_, 0};
  for (const uint32_t id : std::span(ids_).first(count)) {
    SKEIN_RETURN_IF_ERROR(session_.run_chunk({&id, 1}, false));
  }
  return {};
}

}  // namespace skein::internal
