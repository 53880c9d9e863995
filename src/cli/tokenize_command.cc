#include "cli/tokenize_command.h"

#include <memory>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "engine/impl.h"
#include "engine/tokenizer.h"

namespace skein::cli {
namespace {

constexpr size_t kMaxInputBytes = size_t{1} << 30;

struct TokenizeFlags {
  LoadOptions load;
  CLI::Option* text = nullptr;
  std::string decode;
  bool json = false;
};

// The vocabulary that was named, or the one beside the model, or else the model's own.
Result<Tokenizer> load_tokenizer(const LoadOptions& options) {
  if (!options.vocab_path.empty()) return Tokenizer::load(options.vocab_path);
  std::string model_path = options.model_path;
  if (model_path.empty()) {
    SKEIN_ASSIGN_OR_RETURN(model_path, default_model_path());
  }
  const std::string path = internal::find_vocabulary(model_path);
  if (path.empty()) {
    SKEIN_ASSIGN_OR_RETURN(std::optional<Tokenizer> own, internal::load_own_tokenizer(model_path));
    if (own) return *std::move(own);
    return error(
        "{}: expected a vocabulary beside it (vocab.txt), found none; name one with --vocab",
        model_path);
  }
  return Tokenizer::load(path);
}

Result<std::string> read_text(const TokenizeFlags& flags) {
  if (flags.text->count() != 0) return fmt::format("{}", fmt::join(texts(*flags.text), " "));
  if (stdin_is_terminal()) {
    return error("no text: give it as an argument or on stdin; see skein tokenize --help");
  }
  return read_stdin(kMaxInputBytes);
}

// A token on one line, in full: what is no printable ASCII as \xNN.
std::string quoted_token(std::string_view bytes) {
  std::string text = "'";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      text += "\\n";
    } else if (c == '\'' || c == '\\') {
      text += '\\';
      text += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  return text + "'";
}

Status write_tokens(const Tokenizer& tokenizer, const std::vector<uint32_t>& ids, bool json) {
  if (json) {
    Json object;
    object["ids"] = ids;
    object["tokens"] = Json::array();
    for (const uint32_t id : ids)
      object["tokens"].push_back(std::string(tokenizer.token_bytes(id)));
    return write_json(object);
  }
  std::string lines;
  for (const uint32_t id : ids) {
    fmt::format_to(std::back_inserter(lines), "{:6} {}\n", id,
                   quoted_token(tokenizer.token_bytes(id)));
  }
  return write_stdout(lines);
}

Status run(const TokenizeFlags& flags) {
  SKEIN_ASSIGN_OR_RETURN(const Tokenizer tokenizer, load_tokenizer(flags.load));
  if (!flags.decode.empty()) {
    const std::vector<uint32_t> ids = split_numbers(flags.decode);
    return flags.json ? write_tokens(tokenizer, ids, true) : write_stdout(tokenizer.decode(ids));
  }
  SKEIN_ASSIGN_OR_RETURN(const std::string text, read_text(flags));
  SKEIN_ASSIGN_OR_RETURN(const std::vector<uint32_t> ids, tokenizer.encode(text));
  return write_tokens(tokenizer, ids, flags.json);
}

}  // namespace

void add_tokenize_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App& command = *app.add_subcommand("tokenize", "Show the tokens of a text");
  flags->text = add_texts(command, "text", "Text to tokenize; stdin where there is none");
  command.add_option("--decode", flags->decode, "The other way: the bytes of these ids")
      ->check(whole_numbers(0, UINT32_MAX))
      ->excludes(flags->text)
      ->type_name("1,2,3");
  add_json_option(command, flags->json);
  add_model_file_options(command, flags->load);
  add_examples(
      command,
      "  skein tokenize \"Once upon a time\"\n"
      "  skein tokenize --json --vocab vocab.txt < story.txt\n"
      "  skein tokenize --decode 510,33\n"
      "--json writes {\"ids\": [...], \"tokens\": [...]}; a token that is no UTF-8 by itself\n"
      "stands there with U+FFFD for its bytes, --decode writes them exactly.");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
