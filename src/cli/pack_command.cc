#include "cli/pack_command.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "cli/neuron_profile.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "engine/backends.h"
#include "engine/impl.h"
#include "engine/plan_choice.h"
#include "model/lora.h"
#include "model/pack_model.h"

namespace skein::cli {
namespace {

namespace fs = std::filesystem;

struct PackFlags {
  LoadOptions load;
  std::string output;
  std::string neurons_text_path;  // empty: neurons stay in the file's order
  bool json = false;
};

// What a user wants to know of a packed file.
struct PackOutcome {
  std::string model, output, plan, vocabulary;
  PackSummary summary;
  std::optional<NeuronProfile> neurons;
  uint64_t span_bytes = 0, padding_bytes = 0;
  double seconds = 0;
};

// Packing a model over itself would lose it.
Status check_output(const std::string& model, const std::string& output) {
  std::error_code ignored;
  if (!fs::equivalent(model, output, ignored)) return {};
  return error("{}: expected another file than the model to write to", output);
}

// Into options.neurons, where the flags ask for it.
Status order_neurons(const PackFlags& flags, const ModelFile& file, Backend& backend,
                     const std::optional<Tokenizer>& tokenizer, Rwkv7::LoadOptions& options,
                     PackOutcome& outcome) {
  if (flags.neurons_text_path.empty()) return {};
  if (!tokenizer) {
    return error(
        "{}: expected a vocabulary beside it (vocab.txt) to read {} with, found none; name one "
        "with --vocab",
        outcome.model, flags.neurons_text_path);
  }
  SKEIN_ASSIGN_OR_RETURN(outcome.neurons, profile_neurons(file, backend, options, *tokenizer,
                                                          flags.neurons_text_path));
  options.neurons = std::make_shared<NeuronOrder>(outcome.neurons->order);
  return {};
}

Result<PackOutcome> pack(const PackFlags& flags) {
  PackOutcome outcome;
  outcome.output = flags.output;
  outcome.model = flags.load.model_path;
  if (outcome.model.empty()) {
    SKEIN_ASSIGN_OR_RETURN(outcome.model, default_model_path());
  }
  SKEIN_RETURN_IF_ERROR(check_output(outcome.model, outcome.output));
  // A file outlives the machine that packs it: whether that has a GPU must not decide what is in
  // it.
  const bool is_cpu = flags.load.backend == "auto" && !flags.load.adapter;
  SKEIN_ASSIGN_OR_RETURN(const ChosenBackend chosen,
                         choose_backend(is_cpu ? "cpu" : flags.load.backend, flags.load.num_threads,
                                        flags.load.precision, flags.load.adapter));
  if (!chosen.warning.empty()) say(fmt::format("warning: {}", chosen.warning));
  Backend& backend = *chosen.backend;
  SKEIN_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::open(outcome.model));
  SKEIN_ASSIGN_OR_RETURN(
      const std::optional<Tokenizer> tokenizer,
      internal::load_tokenizer(flags.load.vocab_path, outcome.model, file.dims().num_vocab));
  SKEIN_ASSIGN_OR_RETURN(const PlanChoice choice, choose_plan(flags.load, outcome.model, backend));
  for (const std::string& warning : choice.warnings) say(fmt::format("warning: {}", warning));

  Rwkv7::LoadOptions options;
  options.plan = choice.plan;
  options.num_threads = flags.load.num_threads != 0 ? flags.load.num_threads : num_physical_cores();
  SKEIN_ASSIGN_OR_RETURN(options.lora, load_lora(flags.load.loras, file));
  SKEIN_RETURN_IF_ERROR(order_neurons(flags, file, backend, tokenizer, options, outcome));

  ProgressBar bar("pack");
  const InterruptGuard guard;
  options.on_progress = [&bar](double fraction) { bar.update(fraction); };
  SKEIN_ASSIGN_OR_RETURN(outcome.summary, pack_model(file, outcome.output, backend, options,
                                                     [] { return InterruptGuard::interrupted(); }));
  bar.erase();
  outcome.seconds = bar.seconds();
  WeightPlan plan = choice.plan;
  plan.file_dtypes = file_dtypes_of(outcome.summary.reports);
  outcome.plan = plan.text();
  outcome.vocabulary = internal::find_vocabulary(outcome.output);
  // What is inside of the model would be lost.
  const bool is_own =
      flags.load.vocab_path.empty() && internal::find_vocabulary(outcome.model).empty();
  if (outcome.vocabulary.empty() && tokenizer && is_own) {
    SKEIN_ASSIGN_OR_RETURN(outcome.vocabulary,
                           internal::write_vocabulary(outcome.output, *tokenizer));
  }
  for (const WeightReport& report : outcome.summary.reports) {
    outcome.span_bytes += report.num_bytes;
    outcome.padding_bytes += report.padding_bytes();
  }
  return outcome;
}

Status print_json(const PackOutcome& outcome) {
  Json json;
  json["model"] = outcome.model;
  json["output"] = outcome.output;
  json["layouts"] = outcome.plan;
  json["tensors"] = outcome.summary.reports.size();
  json["bytes"] = outcome.summary.file_bytes;
  json["padding_bytes"] = outcome.padding_bytes;
  json["vocabulary"] = outcome.vocabulary.empty() ? Json() : Json(outcome.vocabulary);
  if (outcome.neurons) json["neurons"] = neurons_json(*outcome.neurons);
  json["seconds"] = outcome.seconds;
  json["warnings"] = outcome.summary.warnings;
  return write_json(json);
}

Status print_text(const PackOutcome& outcome) {
  const std::string vocabulary =
      outcome.vocabulary.empty()
          ? fmt::format("none beside it: looked for {}, or name one with --vocab",
                        fmt::join(internal::vocabulary_paths(outcome.output), ", "))
          : outcome.vocabulary;
  return write_stdout(fmt::format(
      "packed           {}\n"
      "written          {}, {} in {} tensors, {:.1f} s\n"
      "layouts          {}\n"
      "padding          {}, {:.2f} %\n"
      "vocabulary       {}\n"
      "{}",
      outcome.model, outcome.output, bytes_text(static_cast<double>(outcome.summary.file_bytes)),
      outcome.summary.reports.size(), outcome.seconds, outcome.plan,
      bytes_text(static_cast<double>(outcome.padding_bytes)),
      100 * static_cast<double>(outcome.padding_bytes) / static_cast<double>(outcome.span_bytes),
      vocabulary, outcome.neurons ? neurons_text(*outcome.neurons) : ""));
}

Status run(const PackFlags& flags) {
  SKEIN_ASSIGN_OR_RETURN(const PackOutcome outcome, pack(flags));
  for (const std::string& warning : outcome.summary.warnings) {
    say(fmt::format("warning: {}", warning));
  }
  return flags.json ? print_json(outcome) : print_text(outcome);
}

}  // namespace

void add_pack_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<PackFlags>();
  CLI::App& command =
      *app.add_subcommand("pack", "Write a model in its planned layouts, for loading at once");
  command.add_option("-o,--output", flags->output, "The file to write, .safetensors")
      ->required()
      ->check(file_name())
      ->type_name("FILE");
  command
      .add_option("--profile-neurons", flags->neurons_text_path,
                  "Count which ffn neurons fire over this text and pack the hot ones side by side")
      ->check(file_name())
      ->type_name("TEXT");
  add_json_option(command, flags->json);
  add_model_options(command, flags->load);
  add_examples(
      command,
      "  skein pack --quant int8 -o goose-int8.safetensors\n"
      "  skein pack -m model.safetensors --quant ffn=nf4,att=int8 -o packed.safetensors\n"
      "  skein pack --profile-neurons corpus.txt -o hot-first.safetensors\n"
      "  skein pack --backend webgpu -o for-a-gpu.safetensors\n"
      "  skein generate -m packed.safetensors --vocab vocab.txt \"Once upon a time\"\n"
      "  skein inspect -m packed.safetensors --verify\n"
      "Layouts and plan are those of the backend; auto is the CPU here. Every backend reads\n"
      "every file.");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
