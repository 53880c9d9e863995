#include <chrono>
#include <deque>

#include "engine/impl.h"
#include "engine/sampler.h"
#include "engine/stop_texts.h"
#include "engine/utf8_stream.h"

namespace skein {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kEndOfText = 0;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The text on its way to the user: characters complete, stop texts held back, and for every token whose text is held back the
// session as it was before that token, so that a stop text leaves no trace in the state.
class TextOut {
 public:
  TextOut(const GenerateOptions& options, const std::function<bool(std::string_view)>& on_text)
      : stops_(options.stop), on_text_(on_text) {}

  // Takes the text of the next token; `session` has not seen it yet. False: generation ends, for reason().
  Result<bool> push(Session& session, std::string_view token_text) {
    const size_t begin = pending_.size();
    pending_ += utf8_.push(token_text);
    if (const auto stop = stops_.find(pending_)) return end_at(session, begin, *stop);
    const size_t held = stops_.held_back(pending_);
    if (held != 0) {
      SKEIN_ASSIGN_OR_RETURN(Session before, session.clone());
      snapshots_.push_back({begin, std::move(before)});
    }
    return show(pending_.size() - held);
  }

  // What was held back and will not become a stop text any more.
  void finish() {
    pending_ += utf8_.finish();
    show(pending_.size());
  }

  StopReason reason() const noexcept { return reason_; }

 private:
  struct Snapshot {
    size_t begin;  // in pending_, where its token's text begins
    Session session;
  };

  bool show(size_t count) {
    const bool go_on = count == 0 || on_text_(std::string_view(pending_).substr(0, count));
    pending_.erase(0, count);
    while (snapshots_.size() > 1 && snapshots_[1].begin <= count) snapshots_.pop_front();
    if (pending_.empty()) snapshots_.clear();
    for (Snapshot& snapshot : snapshots_) snapshot.begin -= std::min(snapshot.begin, count);
    if (!go_on) reason_ = StopReason::kCallback;
    return go_on;
  }

  // `begin` is where the text of the token at hand begins, which `session` has not seen.
  bool end_at(Session& session, size_t begin, size_t stop) {
    while (!snapshots_.empty() && snapshots_.back().begin > stop) snapshots_.pop_back();
    if (stop < begin && !snapshots_.empty()) session = std::move(snapshots_.back().session);
    snapshots_.clear();
    if (stop != 0) on_text_(std::string_view(pending_).substr(0, stop));
    pending_.clear();
    reason_ = StopReason::kStopText;
    return false;
  }

  StopTexts stops_;
  const std::function<bool(std::string_view)>& on_text_;
  Utf8Stream utf8_;
  std::string pending_;
  std::deque<Snapshot> snapshots_;
  StopReason reason_ = StopReason::kMaxTokens;
};

Result<std::vector<uint32_t>> prompt_ids(const Session& session, std::string_view prompt) {
  SKEIN_ASSIGN_OR_RETURN(std::vector<uint32_t> ids, session.model()->encode(prompt));
  if (session.num_tokens() == 0) ids.insert(ids.begin(), kEndOfText);
  return ids;
}

}  // namespace

Result<GenerateStats> generate(Session& session, std::string_view prompt, const GenerateOptions& options,
                               const std::function<bool(std::string_view text)>& on_text) {
  SKEIN_RETURN_IF_ERROR(validate(options.sampler));
  SKEIN_ASSIGN_OR_RETURN(const std::vector<uint32_t> ids, prompt_ids(session, prompt));
  GenerateStats stats;
  const uint64_t before = session.num_tokens();
  Clock::time_point start = Clock::now();
  if (!ids.empty()) SKEIN_RETURN_IF_ERROR(session.prefill(ids, options.on_prefill));
  stats.num_prompt_tokens = session.num_tokens() - before;
  stats.prefill_seconds = seconds_since(start);
  if (stats.num_prompt_tokens < ids.size()) {
    stats.reason = StopReason::kCallback;
    return stats;
  }

  start = Clock::now();
  const std::shared_ptr<Model> model = session.model();
  Sampler sampler(options.sampler, model->info().num_vocab);
  TextOut out(options, on_text);
  bool go_on = true;
  while (go_on && stats.num_tokens < options.max_tokens) {
    const uint32_t id = sampler.sample(session.logits());
    if (id == kEndOfText) {
      stats.reason = StopReason::kEndOfText;
      break;
    }
    sampler.accept(id);
    SKEIN_ASSIGN_OR_RETURN(go_on, out.push(session, model->decode({&id, 1})));
    if (!go_on) stats.reason = out.reason();
    if (stats.reason == StopReason::kStopText) break;
    SKEIN_RETURN_IF_ERROR(session.step(id));
    ++stats.num_tokens;
  }
  if (go_on) out.finish();
  stats.decode_seconds = seconds_since(start);
  return stats;
}

}  // namespace skein
