#include <algorithm>
#include <cstring>
#include <numeric>

#include "engine/impl.h"
#include "engine/state_file.h"

namespace skein {
namespace {

// Of one chunk's logits, when all are asked for: 64 MiB hold 256 tokens of the World vocabulary.
constexpr uint64_t kMaxLogitElems = uint64_t{16} << 20;

constexpr uint32_t kMaxChunk = 1u << 16;

std::span<const std::byte> bytes_of(std::span<const float> floats) { return std::as_bytes(floats); }

// Before the first chunk runs, so that a bad id in the last one leaves the session as it was.
Status check_ids(std::string_view what, std::span<const uint32_t> ids, uint32_t num_vocab) {
  if (ids.empty()) return error("{}: expected at least one token id, found none", what);
  const auto bad =
      std::find_if(ids.begin(), ids.end(), [=](uint32_t id) { return id >= num_vocab; });
  if (bad == ids.end()) return {};
  return error("{}: expected token ids from 0 to {}, found {} in place {}", what, num_vocab - 1,
               *bad, bad - ids.begin());
}

}  // namespace

namespace internal {

Result<const Workspace*> SessionImpl::workspace(uint32_t tokens, uint32_t num_logits) {
  std::optional<Workspace>& work = tokens == 1 && num_logits <= 1 ? decode_work : prefill_work;
  if (!work || work->max_tokens < tokens || work->max_logits < num_logits) {
    work.reset();  // before the larger one is made: a peak of one, not two
    SKEIN_ASSIGN_OR_RETURN(work,
                           rwkv7().make_workspace(tokens, num_logits, rwkv7().plan().activations));
  }
  return &*work;
}

Result<const Workspace*> SessionImpl::run_chunk(std::span<const uint32_t> ids, bool all_logits) {
  SKEIN_RETURN_IF_ERROR(device_status);
  const auto count = static_cast<uint32_t>(ids.size());
  SKEIN_ASSIGN_OR_RETURN(const Workspace* work, workspace(count, all_logits ? count : 1));
  const Run run{0, 0, count};
  std::vector<uint32_t> wanted(all_logits ? count : 1, count - 1);
  if (all_logits) std::iota(wanted.begin(), wanted.end(), 0u);
  SKEIN_RETURN_IF_ERROR(rwkv7().submit({ids, {&run, 1}, wanted}, state, *work));
  num_tokens += count;
  const uint64_t row = wanted.size() - 1;
  logits_place = {work->logits.buffer, work->logits.offset_elems + row * work->logits.stride_elems};
  return work;
}

Status SessionImpl::fetch_logits() {
  SKEIN_RETURN_IF_ERROR(device_status);
  if (!logits_place) return {};
  logits.resize(rwkv7().dims().num_vocab);
  device_status =
      rwkv7().backend().download(*logits_place->buffer, logits_place->offset_elems * sizeof(float),
                                 std::as_writable_bytes(std::span(logits)));
  logits_place.reset();
  return device_status;
}

}  // namespace internal

Result<Session> Session::create(std::shared_ptr<Model> model) {
  auto impl = std::make_unique<internal::SessionImpl>();
  impl->model = std::move(model);
  SKEIN_ASSIGN_OR_RETURN(impl->state, impl->rwkv7().make_state(1));
  return Session(std::move(impl));
}

Session::Session(std::unique_ptr<internal::SessionImpl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Status Session::prefill(std::span<const uint32_t> ids, const PrefillProgress& progress) {
  SKEIN_RETURN_IF_ERROR(check_ids("prefill", ids, impl_->rwkv7().dims().num_vocab));
  for (size_t begin = 0; begin < ids.size(); begin += impl_->chunk) {
    const auto chunk = ids.subspan(begin, std::min<size_t>(impl_->chunk, ids.size() - begin));
    SKEIN_RETURN_IF_ERROR(impl_->run_chunk(chunk, false));
    if (progress && !progress(begin + chunk.size(), ids.size())) break;
  }
  return {};
}

Status Session::step(uint32_t id) {
  SKEIN_RETURN_IF_ERROR(impl_->run_chunk({&id, 1}, false));
  return {};
}

Status Session::evaluate(
    std::span<const uint32_t> ids,
    const std::function<void(uint64_t token, std::span<const float> logits)>& on_logits) {
  const uint32_t num_vocab = impl_->rwkv7().dims().num_vocab;
  SKEIN_RETURN_IF_ERROR(check_ids("evaluate", ids, num_vocab));
  const uint64_t max_chunk = std::clamp<uint64_t>(kMaxLogitElems / num_vocab, 1, impl_->chunk);
  std::vector<float> row(num_vocab);
  for (size_t begin = 0; begin < ids.size(); begin += max_chunk) {
    const auto chunk = ids.subspan(begin, std::min<size_t>(max_chunk, ids.size() - begin));
    SKEIN_ASSIGN_OR_RETURN(const Workspace* work, impl_->run_chunk(chunk, true));
    for (size_t token = 0; token < chunk.size(); ++token) {
      const uint64_t offset_elems = work->logits.offset_elems + token * work->logits.stride_elems;
      SKEIN_RETURN_IF_ERROR(
          impl_->rwkv7().backend().download(*work->logits.buffer, offset_elems * sizeof(float),
                                            std::as_writable_bytes(std::span(row))));
      on_logits(begin + token, row);
    }
  }
  return {};
}

Status Session::wait() const {
  if (impl_->device_status) impl_->device_status = impl_->rwkv7().backend().finish();
  return impl_->device_status;
}

std::span<const float> Session::logits() const noexcept {
  if (!impl_->fetch_logits()) return {};
  return impl_->logits;
}
uint64_t Session::num_tokens() const noexcept { return impl_->num_tokens; }
const std::shared_ptr<Model>& Session::model() const noexcept { return impl_->model; }

Status Session::set_chunk(uint32_t num_tokens) {
  if (num_tokens < 1 || num_tokens > kMaxChunk) {
    return error("chunk: expected 1 to {} tokens, found {}", kMaxChunk, num_tokens);
  }
  impl_->chunk = num_tokens;
  return {};
}

Status Session::reset() {
  std::vector<float> values = impl_->initial;
  values.resize(impl_->state.num_elems());
  SKEIN_RETURN_IF_ERROR(impl_->rwkv7().backend().upload(*impl_->state.buffer, 0, bytes_of(values)));
  impl_->num_tokens = 0;
  impl_->logits.clear();
  impl_->logits_place.reset();
  return {};
}

Result<Session> Session::clone() const {
  SKEIN_RETURN_IF_ERROR(impl_->fetch_logits());
  SKEIN_ASSIGN_OR_RETURN(Session copy, create(impl_->model));
  std::vector<float> values(impl_->state.num_elems());
  Backend& backend = impl_->rwkv7().backend();
  SKEIN_RETURN_IF_ERROR(
      backend.download(*impl_->state.buffer, 0, std::as_writable_bytes(std::span(values))));
  SKEIN_RETURN_IF_ERROR(backend.upload(*copy.impl_->state.buffer, 0, bytes_of(values)));
  copy.impl_->num_tokens = impl_->num_tokens;
  copy.impl_->logits = impl_->logits;
  copy.impl_->initial = impl_->initial;
  copy.impl_->chunk = impl_->chunk;
  return copy;
}

Status Session::save(const std::string& path) const {
  SKEIN_RETURN_IF_ERROR(impl_->fetch_logits());
  return internal::save_state(*impl_, path);
}
Status Session::restore(const std::string& path) { return internal::restore_state(*impl_, path); }

}  // namespace skein
