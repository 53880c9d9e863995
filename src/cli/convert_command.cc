#include "cli/convert_command.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "engine/impl.h"
#include "model/convert_model.h"

namespace skein::cli {
namespace {

namespace fs = std::filesystem;

struct ConvertFlags {
  std::string input, output, vocab_path;
  std::string type;  // empty: as the format has it
  bool json = false;
};

struct ConvertOutcome {
  std::string source_format, vocabulary;  // where that is; empty: nowhere
  ConvertSummary summary;
  double seconds = 0;
};

Result<FileFormat> format_of(const std::string& path) {
  const std::string extension = fs::path(path).extension().string();
  if (extension == ".gguf") return FileFormat::kGguf;
  if (extension == ".safetensors" || extension == ".st") return FileFormat::kSafetensors;
  return error("{}: expected a name that ends in .safetensors or .gguf, found '{}'", path,
               extension);
}

// Writing a model over itself would lose it.
Status check_output(const ConvertFlags& flags) {
  std::error_code ignored;
  if (!fs::equivalent(flags.input, flags.output, ignored)) return {};
  return error("{}: expected another file than the model to write to", flags.output);
}

std::optional<DType> dtype_of(const std::string& type) {
  if (type == "f16") return DType::kF16;
  if (type == "bf16") return DType::kBF16;
  if (type == "f32") return DType::kF32;
  return std::nullopt;
}

std::vector<std::string> tokens_of(const Tokenizer& tokenizer) {
  std::vector<std::string> tokens(tokenizer.num_ids());
  for (uint32_t id = 0; id < tokens.size(); ++id) tokens[id] = tokenizer.token_bytes(id);
  return tokens;
}

// Where the new file's vocabulary is: inside of a .gguf file; beside another one, where it is
// written if there is none yet.
Result<std::string> keep_vocabulary(const std::string& output, FileFormat format,
                                    const std::optional<Tokenizer>& tokenizer) {
  if (format == FileFormat::kGguf) return tokenizer ? output : std::string();
  const std::string found = internal::find_vocabulary(output);
  if (!found.empty() || !tokenizer) return found;
  return internal::write_vocabulary(output, *tokenizer);
}

Result<ConvertOutcome> convert(const ConvertFlags& flags) {
  ConvertOutcome outcome;
  ConvertOptions options;
  SKEIN_ASSIGN_OR_RETURN(options.format, format_of(flags.output));
  SKEIN_RETURN_IF_ERROR(check_output(flags));
  SKEIN_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::open(flags.input));
  SKEIN_ASSIGN_OR_RETURN(
      const std::optional<Tokenizer> tokenizer,
      internal::load_tokenizer(flags.vocab_path, flags.input, file.dims().num_vocab));
  options.dtype = dtype_of(flags.type);
  options.name = fs::path(flags.input).stem().string();
  if (tokenizer) options.tokens = tokens_of(*tokenizer);
  ProgressBar bar("convert");
  const InterruptGuard guard;
  options.on_progress = [&bar](double fraction) { bar.update(fraction); };
  options.should_stop = [] { return InterruptGuard::interrupted(); };
  SKEIN_ASSIGN_OR_RETURN(outcome.summary, convert_model(file, flags.output, options));
  bar.erase();
  outcome.seconds = bar.seconds();
  outcome.source_format = file.format_text();
  SKEIN_ASSIGN_OR_RETURN(outcome.vocabulary,
                         keep_vocabulary(flags.output, options.format, tokenizer));
  return outcome;
}

Status print_json(const ConvertFlags& flags, const ConvertOutcome& outcome) {
  Json json;
  json["model"] = flags.input;
  json["format"] = outcome.source_format;
  json["output"] = flags.output;
  json["tensors"] = outcome.summary.num_tensors;
  json["bytes"] = outcome.summary.file_bytes;
  json["vocabulary"] = outcome.vocabulary.empty() ? Json() : Json(outcome.vocabulary);
  json["seconds"] = outcome.seconds;
  json["warnings"] = outcome.summary.warnings;
  return write_json(json);
}

Status print_text(const ConvertFlags& flags, const ConvertOutcome& outcome) {
  return write_stdout(
      fmt::format("converted        {}, {}\n"
                  "written          {}, {} in {} tensors, {:.1f} s\n"
                  "vocabulary       {}\n",
                  flags.input, outcome.source_format, flags.output,
                  bytes_text(static_cast<double>(outcome.summary.file_bytes)),
                  outcome.summary.num_tensors, outcome.seconds,
                  outcome.vocabulary.empty() ? "none: name one with --vocab" : outcome.vocabulary));
}

Status run(const ConvertFlags& flags) {
  SKEIN_ASSIGN_OR_RETURN(const ConvertOutcome outcome, convert(flags));
  for (const std::string& warning : outcome.summary.warnings) {
    say(fmt::format("warning: {}", warning));
  }
  return flags.json ? print_json(flags, outcome) : print_text(flags, outcome);
}

}  // namespace

void add_convert_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ConvertFlags>();
  CLI::App& command =
      *app.add_subcommand("convert", "Write a model of any format as .safetensors or .gguf");
  command.add_option("in", flags->input, "The model: .pth, .safetensors, .gguf, or an index")
      ->required()
      ->check(file_name())
      ->type_name("IN");
  command.add_option("out", flags->output, "The file to write: .safetensors or .gguf")
      ->required()
      ->check(file_name())
      ->type_name("OUT");
  command
      .add_option("--type", flags->type,
                  "f16, bf16 or f32 (as it is in .safetensors, f16 matrices in .gguf)")
      ->check(one_of({"f16", "bf16", "f32"}))
      ->type_name("TYPE");
  command.add_option("--vocab", flags->vocab_path, "Vocabulary (the one of the model)")
      ->check(file_name())
      ->type_name("FILE");
  add_json_option(command, flags->json);
  add_examples(command,
               "  skein convert rwkv7-g1-1.5b.pth rwkv7-g1-1.5b.safetensors\n"
               "  skein convert --type f16 model.safetensors.index.json model.gguf\n"
               "Names and orientation are BlinkDL's in .safetensors, llama.cpp's in .gguf. A\n"
               "vocabulary goes into a .gguf file, and stays beside a .safetensors file.");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
