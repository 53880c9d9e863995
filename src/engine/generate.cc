#include <algorithm>
#include <chrono>
#include <deque>

#include "engine/device_drawer.h"
#include "engine/impl.h"
#include "engine/sampler.h"
#include "engine/stop_texts.h"
#include "engine/utf8_stream.h"

namespace skein {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kEndOfText = 0;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The text on its way to the user: characters complete, what may be the beginning of a stop text
// held back. Of every token whose text is held back in part or in whole it keeps the session as it
// was before it, so that a stop text leaves no trace.
//
// Stop texts are looked for among the bytes, before these become characters: then an offset is an
// offset, whatever the tokens cut.
class TextOut {
 public:
  TextOut(const GenerateOptions& options, const std::function<bool(std::string_view)>& on_text)
      : stops_(options.stop), on_text_(on_text) {}

  // Takes the next token, which `session` has not seen yet, and runs it unless its text is not to
  // be seen. False: generation ends, for reason().
  Result<bool> push(Session& session, uint32_t id) {
    std::string text = session.model()->decode({&id, 1});
    const auto begin = static_cast<ptrdiff_t>(pending_.size());
    pending_ += text;
    if (const auto stop = stops_.find(pending_)) {
      SKEIN_RETURN_IF_ERROR(end_at(session, begin, text, static_cast<ptrdiff_t>(*stop)));
      return false;
    }
    const size_t num_held = stops_.held_back(pending_);
    if (num_held != 0) {
      SKEIN_ASSIGN_OR_RETURN(Session before, session.clone());
      held_.push_back({begin, std::move(text), std::move(before)});
    }
    const size_t num_shown = pending_.size() - num_held;
    const bool go_on = hand_out(utf8_.push(std::string_view(pending_).substr(0, num_shown)));
    forget(num_shown);
    if (!go_on) {
      reason_ = StopReason::kCallback;
      // Tokens of whose text the user has seen nothing have not been there.
      const auto unseen = std::find_if(held_.begin(), held_.end(),
                                       [](const Held& token) { return token.begin >= 0; });
      if (unseen != held_.end()) {
        session = std::move(unseen->before);
        return false;
      }
    }
    SKEIN_RETURN_IF_ERROR(session.step(id));
    return go_on;
  }

  // Takes a token that the session has seen already, where there are no stop texts. False: the user
  // wants no more.
  bool show(const Session& session, uint32_t id) {
    const bool go_on = hand_out(utf8_.push(session.model()->decode({&id, 1})));
    if (!go_on) reason_ = StopReason::kCallback;
    return go_on;
  }

  // Hands out what was held back and will not become a stop text any more.
  void finish() { hand_out(utf8_.push(pending_) + utf8_.finish()); }

  StopReason reason() const noexcept { return reason_; }

 private:
  struct Held {
    ptrdiff_t begin;  // of the token's text in pending_; negative where a part of it was handed out
    std::string text;  // of the token
    Session before;    // has not seen the token
  };

  bool hand_out(std::string_view text) { return text.empty() || !on_text_ || on_text_(text); }

  // The first `count` bytes have been handed out. Keeps the tokens of which something is left.
  void forget(size_t count) {
    pending_.erase(0, count);
    for (Held& token : held_) token.begin -= static_cast<ptrdiff_t>(count);
    std::erase_if(held_,
                  [](const Held& token) { return token.begin + std::ssize(token.text) <= 0; });
  }

  // `begin` and `text` are those of the token at hand, which `session` has not seen. A token that
  // the stop text begins in the midst of is replaced by tokens for the bytes before it: the session
  // has seen what the user has.
  Status end_at(Session& session, ptrdiff_t begin, std::string text, ptrdiff_t stop) {
    if (stop < begin) {
      while (held_.back().begin > stop) held_.pop_back();
      begin = held_.back().begin;
      text = std::move(held_.back().text);
      session = std::move(held_.back().before);
    }
    if (begin < stop) {
      SKEIN_ASSIGN_OR_RETURN(const auto ids, session.model()->encode(std::string_view(text).substr(
                                                 0, static_cast<size_t>(stop - begin))));
      SKEIN_RETURN_IF_ERROR(session.prefill(ids));
    }
    pending_.resize(static_cast<size_t>(stop));
    finish();
    reason_ = StopReason::kStopText;
    return {};
  }

  StopTexts stops_;
  const std::function<bool(std::string_view)>& on_text_;
  Utf8Stream utf8_;
  std::string pending_;  // bytes not yet handed out
  std::deque<Held> held_;
  StopReason reason_ = StopReason::kMaxTokens;
};

Result<std::vector<uint32_t>> prompt_ids(const Session& session, std::string_view prompt) {
  SKEIN_ASSIGN_OR_RETURN(std::vector<uint32_t> ids, session.model()->encode(prompt));
  if (session.num_tokens() == 0) ids.insert(ids.begin(), kEndOfText);
  return ids;
}

// Tokens that are drawn before the host looks at them: few at first, so that the text begins at
// once, then as many as take about as long as the eye notices.
constexpr uint32_t kMaxDrawn = 32;
constexpr double kDrawSeconds = 0.05;

Result<internal::DeviceDrawer> make_drawer(Session& session, const GenerateOptions& options) {
  if (!options.stop.empty()) return error("stop texts may take tokens back");
  return internal::DeviceDrawer::create(session, options.sampler);
}

// Draws on the device until the text ends; says in `stats` how.
Status draw_on_device(internal::DeviceDrawer& drawer, Session& session, uint32_t max_tokens,
                      TextOut& out, GenerateStats& stats) {
  uint32_t wanted = 1;
  while (stats.num_tokens < max_tokens) {
    const Clock::time_point start = Clock::now();
    const auto left = static_cast<uint32_t>(max_tokens - stats.num_tokens);
    SKEIN_ASSIGN_OR_RETURN(const std::span<const uint32_t> ids,
                           drawer.draw(std::min(wanted, left)));
    for (uint32_t i = 0; i < ids.size(); ++i) {
      if (ids[i] == kEndOfText) {
        stats.reason = StopReason::kEndOfText;
        return drawer.rewind(i);
      }
      ++stats.num_tokens;
      if (!out.show(session, ids[i])) {
        stats.reason = out.reason();
        return drawer.rewind(i + 1);
      }
    }
    if (seconds_since(start) < kDrawSeconds) wanted = std::min(2 * wanted, kMaxDrawn);
  }
  return {};
}

}  // namespace

Result<GenerateStats> generate(Session& session, std::string_view prompt,
                               const GenerateOptions& options,
                               const std::function<bool(std::string_view text)>& on_text) {
  SKEIN_RETURN_IF_ERROR(validate(options.sampler));
  SKEIN_ASSIGN_OR_RETURN(const std::vector<uint32_t> ids, prompt_ids(session, prompt));
  GenerateStats stats;
  const uint64_t before = session.num_tokens();
  Clock::time_point start = Clock::now();
  if (!ids.empty()) SKEIN_RETURN_IF_ERROR(session.prefill(ids, options.on_prefill));
  SKEIN_RETURN_IF_ERROR(session.wait());
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
  Result<internal::DeviceDrawer> drawer = make_drawer(session, options);
  if (drawer) {
    SKEIN_RETURN_IF_ERROR(draw_on_device(*drawer, session, options.max_tokens, out, stats));
  }
  while (!drawer && stats.num_tokens < options.max_tokens) {
    const std::span<const float> logits = session.logits();
    if (logits.empty()) SKEIN_RETURN_IF_ERROR(session.wait());
    const uint32_t id = sampler.sample(logits);
    if (id == kEndOfText) {
      stats.reason = StopReason::kEndOfText;
      break;
    }
    sampler.accept(id);
    ++stats.num_tokens;
    SKEIN_ASSIGN_OR_RETURN(const bool go_on, out.push(session, id));
    if (!go_on) {
      stats.reason = out.reason();
      break;
    }
  }
  if (stats.reason == StopReason::kMaxTokens || stats.reason == StopReason::kEndOfText)
    out.finish();
  stats.decode_seconds = seconds_since(start);
  return stats;
}

}  // namespace skein
