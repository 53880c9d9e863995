#include "cli/generate_command.h"

#include <memory>
#include <string>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace skein::cli {
namespace {

constexpr size_t kMaxPromptBytes = size_t{1} << 28;

struct GenerateFlags {
  LoadOptions load;
  std::string state_path;
  GenerateOptions generate;
  CLI::Option* prompt = nullptr;
  bool echo = false;
  bool json = false;
};

// The arguments with a space between, or all of stdin.
Result<std::string> read_prompt(const GenerateFlags& flags) {
  if (flags.prompt->count() != 0) return fmt::format("{}", fmt::join(texts(*flags.prompt), " "));
  if (stdin_is_terminal()) {
    return error("no prompt: give it as an argument or on stdin; see skein generate --help");
  }
  return read_stdin(kMaxPromptBytes);
}

std::string_view reason_text(StopReason reason) {
  switch (reason) {
    case StopReason::kMaxTokens:
      return "max_tokens";
    case StopReason::kEndOfText:
      return "end_of_text";
    case StopReason::kStopText:
      return "stop_text";
    case StopReason::kCallback:
      return "interrupted";
  }
  return "?";
}

double rate(uint64_t num_tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(num_tokens) / seconds : 0;
}

Status write_result_json(const std::string& prompt, const std::string& text, uint64_t seed,
                         const GenerateStats& stats) {
  Json json;
  json["prompt"] = prompt;
  json["text"] = text;
  json["stop_reason"] = reason_text(stats.reason);
  json["seed"] = seed;
  json["prompt_tokens"] = stats.num_prompt_tokens;
  json["tokens"] = stats.num_tokens;
  json["prefill_seconds"] = stats.prefill_seconds;
  json["decode_seconds"] = stats.decode_seconds;
  return write_json(json);
}

// For a person only: a program that reads stderr sees errors and warnings there, nothing else.
void say_stats(const GenerateStats& stats, uint64_t seed) {
  if (!stderr_is_terminal()) return;
  say(fmt::format("{} prompt tokens at {:.0f}/s, {} tokens at {:.1f}/s, seed {}",
                  stats.num_prompt_tokens, rate(stats.num_prompt_tokens, stats.prefill_seconds),
                  stats.num_tokens, rate(stats.num_tokens, stats.decode_seconds), seed));
}

// Streams the text; on a terminal the prompt stands before it and a newline behind it.
Status stream(Session& session, const std::string& prompt, const GenerateFlags& flags,
              GenerateOptions options) {
  const bool echo = flags.echo || (stdout_is_terminal() && flags.prompt->count() != 0);
  Status written;
  // Once the progress bar is gone: it would erase the line that the prompt stands on.
  options.on_prefill = [&, draw = options.on_prefill](uint64_t done, uint64_t total) {
    draw(done, total);
    if (done == total && echo) written = write_stdout(prompt);
    return written.has_value();
  };
  auto stats = generate(session, prompt, options, [&](std::string_view text) {
    if (written) written = write_stdout(text);
    return written.has_value();
  });
  if (!written) return written;
  if (!stats) return tl::unexpected(stats.error());
  if (stdout_is_terminal()) SKEIN_RETURN_IF_ERROR(write_stdout("\n"));
  say_stats(*stats, options.sampler.seed);
  return {};
}

Status run(const GenerateFlags& flags) {
  SKEIN_ASSIGN_OR_RETURN(const std::string prompt, read_prompt(flags));
  SKEIN_ASSIGN_OR_RETURN(auto model, load_model(flags.load));
  SKEIN_ASSIGN_OR_RETURN(Session session, make_session(std::move(model), flags.state_path));
  ProgressBar bar("prefill");
  GenerateOptions options = flags.generate;
  options.on_prefill = [&bar](uint64_t done, uint64_t total) {
    bar.update(static_cast<double>(done) / static_cast<double>(total),
               fmt::format("{:.0f} tokens/s", rate(done, bar.seconds())));
    if (done == total) bar.erase();
    return true;
  };
  if (!flags.json) return stream(session, prompt, flags, options);
  std::string text;
  SKEIN_ASSIGN_OR_RETURN(const GenerateStats stats,
                         generate(session, prompt, options, [&text](std::string_view piece) {
                           text += piece;
                           return true;
                         }));
  return write_result_json(prompt, text, options.sampler.seed, stats);
}

}  // namespace

void add_generate_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App& command = *app.add_subcommand("generate", "Continue a text");
  flags->prompt = add_texts(command, "prompt", "Text to continue; stdin where there is none");
  add_generate_options(command, flags->generate);
  command.add_flag("--echo", flags->echo, "Write the prompt too, as on a terminal");
  add_json_option(command, flags->json);
  add_state_option(command, flags->state_path);
  add_model_options(command, flags->load);
  add_examples(command,
               "  skein generate \"Once upon a time\"\n"
               "  skein generate --temperature 0 --tokens 20 \"12 + 30 =\"\n"
               "  skein generate -m model.safetensors --seed 7 --stop $'\\n\\n' < prompt.txt\n"
               "  skein generate -- \"-- a prompt that starts with a dash\"\n"
               "The text goes to stdout, without the prompt unless stdout is a terminal.");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
