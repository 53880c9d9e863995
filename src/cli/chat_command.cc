#include "cli/chat_command.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace skein::cli {
namespace {

constexpr std::string_view kTurnEnd = "\n\n";

constexpr std::string_view kHelp =
    "  /reset      forget the conversation\n"
    "  /save FILE  write the conversation's state to a file\n"
    "  /load FILE  go on from such a file\n"
    "  /stats      tokens and speed so far\n"
    "  /help       this list\n"
    "Ctrl-C ends an answer; at the prompt, Ctrl-C twice or Ctrl-D leaves.\n";

struct ChatFlags {
  LoadOptions load;
  std::string state_path;
  GenerateOptions generate;
};

// RWKV's turns, "User: ...\n\nAssistant: ...\n\n": the name that llama.cpp has for them, or a text
// that makes them.
bool is_rwkv_template(std::string_view text) {
  const auto has = [&](std::string_view part) { return text.find(part) != std::string_view::npos; };
  return text == "rwkv-world" || (has("User:") && has("Assistant:"));
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// Writes an answer without the white space around it: what may be its end waits until more text
// follows.
class AnswerWriter {
 public:
  Status write(std::string_view text) {
    waiting_ += text;
    if (empty_) waiting_.erase(0, waiting_.find_first_not_of(" \n"));
    const size_t last = waiting_.find_last_not_of(" \n");
    if (last == std::string::npos) return {};
    empty_ = false;
    const std::string ready = waiting_.substr(0, last + 1);
    waiting_.erase(0, last + 1);
    return write_stdout(ready);
  }

 private:
  std::string waiting_;
  bool empty_ = true;
};

// One conversation. Law: between turns the session stands behind the blank line that ends a turn,
// or at its very start, so that a saved state can be continued by any later turn.
class Chat {
 public:
  Chat(Session session, GenerateOptions options)
      : session_(std::move(session)), options_(std::move(options)) {
    options_.stop.push_back("\n\nUser:");
  }

  // One line of the user: a command or a message.
  Status take(std::string_view line) {
    if (line.empty()) return {};
    if (line.front() == '/') return obey(line);
    return answer(line);
  }

 private:
  Status obey(std::string_view line);
  Status answer(std::string_view message);
  Status end_turn(std::string_view answer_text);
  void say_stats() const;

  Session session_;
  GenerateOptions options_;
  GenerateStats total_;  // of all turns since the start
};

Status Chat::obey(std::string_view line) {
  const size_t space = line.find(' ');
  const std::string_view name = line.substr(0, space);
  const std::string path(space == std::string_view::npos ? "" : trimmed(line.substr(space)));
  const bool takes_file = name == "/save" || name == "/load";
  if (takes_file && path.empty()) return error("{}: expected a file name", name);
  if (!takes_file && !path.empty()) return error("{}: expected nothing behind it", name);
  if (name == "/save") return session_.save(path);
  if (name == "/load") return session_.restore(path);
  if (name == "/reset") return session_.reset();
  if (name == "/stats") {
    say_stats();
  } else if (name == "/help") {
    write_stderr(kHelp);
  } else {
    return error("unknown command '{}'; /help lists them", name);
  }
  return {};
}

Status Chat::answer(std::string_view message) {
  SKEIN_ASSIGN_OR_RETURN(Session before, session_.clone());
  ProgressBar bar("prefill");
  bool prefilled = false;
  options_.on_prefill = [&](uint64_t done, uint64_t total) {
    bar.update(static_cast<double>(done) / static_cast<double>(total));
    prefilled = done == total;
    if (prefilled) bar.erase();
    return !InterruptGuard::interrupted();
  };
  AnswerWriter writer;
  Status written;
  std::string text;
  const auto stats = generate(session_, fmt::format("User: {}\n\nAssistant:", message), options_,
                              [&](std::string_view piece) {
                                text += piece;
                                written = writer.write(piece);
                                return written.has_value() && !InterruptGuard::interrupted();
                              });
  options_.on_prefill = {};
  // Half a question would stay in the memory of the model.
  if (!stats || !prefilled) session_ = std::move(before);
  if (!stats) return tl::unexpected(stats.error());
  if (!written) return written;
  SKEIN_RETURN_IF_ERROR(write_stdout("\n"));
  total_.num_prompt_tokens += stats->num_prompt_tokens;
  total_.num_tokens += stats->num_tokens;
  total_.prefill_seconds += stats->prefill_seconds;
  total_.decode_seconds += stats->decode_seconds;
  return prefilled ? end_turn(text) : Status{};
}

// Runs the part of the blank line that the answer did not end with.
Status Chat::end_turn(std::string_view answer_text) {
  size_t num_present = 0;
  while (num_present < kTurnEnd.size() && num_present < answer_text.size() &&
         answer_text[answer_text.size() - 1 - num_present] == '\n') {
    ++num_present;
  }
  if (num_present == kTurnEnd.size()) return {};
  SKEIN_ASSIGN_OR_RETURN(const auto ids, session_.model()->encode(kTurnEnd.substr(num_present)));
  return session_.prefill(ids);
}

void Chat::say_stats() const {
  const auto rate = [](uint64_t num_tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(num_tokens) / seconds : 0.0;
  };
  write_stderr(fmt::format(
      "{} tokens in the conversation; {} prompt tokens at {:.0f}/s, {} answer tokens at {:.1f}/s\n",
      session_.num_tokens(), total_.num_prompt_tokens,
      rate(total_.num_prompt_tokens, total_.prefill_seconds), total_.num_tokens,
      rate(total_.num_tokens, total_.decode_seconds)));
}

// On a terminal a failed line is told and the conversation goes on; a script ends with it.
Status converse(Chat& chat) {
  const bool interactive = stdin_is_terminal();
  if (interactive) write_stderr("/help lists the commands.\n");
  InterruptGuard guard;
  LineReader reader;
  std::string line;
  bool asked_to_leave = false;
  for (;;) {
    if (interactive) write_stderr("\n> ");
    switch (reader.next(line)) {
      case LineReader::Outcome::kEnd:
        if (interactive) write_stderr("\n");
        return {};
      case LineReader::Outcome::kFailed:
        return error("{}", line);
      case LineReader::Outcome::kInterrupted:
        if (asked_to_leave) {
          write_stderr("\n");
          return {};
        }
        asked_to_leave = true;
        write_stderr("\nCtrl-C again or Ctrl-D leaves.");
        continue;
      case LineReader::Outcome::kLine:
        break;
    }
    asked_to_leave = false;
    Status status = chat.take(trimmed(line));
    InterruptGuard::reset();  // it ended the answer
    if (status) continue;
    if (!interactive) return status;
    say(status.error().message);
  }
}

Status run(const ChatFlags& flags) {
  SKEIN_ASSIGN_OR_RETURN(auto model, load_model(flags.load));
  const ModelInfo& info = model->info();
  if (!info.chat_template.empty() && !is_rwkv_template(info.chat_template)) {
    constexpr size_t kShown = 40;
    std::string shown = info.chat_template.substr(0, kShown);
    std::replace_if(
        shown.begin(), shown.end(), [](unsigned char c) { return std::iscntrl(c) != 0; }, ' ');
    say(fmt::format(
        "warning: {}: expected the chat template rwkv-world, found '{}'; RWKV's is used", info.path,
        shown));
  }
  SKEIN_ASSIGN_OR_RETURN(Session session, make_session(std::move(model), flags.state_path));
  Chat chat(std::move(session), flags.generate);
  return converse(chat);
}

}  // namespace

void add_chat_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ChatFlags>();
  flags->generate.max_tokens = 1024;
  CLI::App& command = *app.add_subcommand("chat", "Talk with a model");
  add_generate_options(command, flags->generate);
  add_state_option(command, flags->state_path);
  add_model_options(command, flags->load);
  add_examples(command,
               "  skein chat\n"
               "  skein chat -m model.safetensors --temperature 0.7 --top-p 0.5\n"
               "  echo \"What is the capital of France?\" | skein chat --temperature 0\n"
               "In the conversation:\n" +
                   std::string(kHelp));
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
