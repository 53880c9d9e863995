#include "cli/profile_command.h"

#include <memory>
#include <span>
#include <string>

#include "base/file.h"
#include "cli/machine.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/profile_report.h"
#include "cli/terminal.h"
#include "engine/backends.h"

namespace skein::cli {
namespace {

struct ProfileFlags {
  LoadOptions load;
  ProfileOptions profile;
  std::string markdown, svg;  // files; empty: none
  bool json = false;
};

Status write_text(const std::string& path, const std::string& text) {
  return write_file_atomically(path, std::as_bytes(std::span(text)));
}

Status run(const ProfileFlags& flags) {
  std::string path = flags.load.model_path;
  if (path.empty()) {
    SKEIN_ASSIGN_OR_RETURN(path, default_model_path());
  }
  ProfileOptions options = flags.profile;
  SKEIN_ASSIGN_OR_RETURN(options.base, parse_quant(flags.load.quant));
  // A GPU's caches are not simulated.
  const bool is_cpu = flags.load.backend == "auto" && options.simulate_cache;
  SKEIN_ASSIGN_OR_RETURN(const ChosenBackend chosen,
                         choose_backend(is_cpu ? "cpu" : flags.load.backend, flags.load.num_threads,
                                        flags.load.precision, flags.load.adapter));
  if (!chosen.warning.empty()) say(fmt::format("warning: {}", chosen.warning));
  ProgressBar bar("profile");
  const auto report = profile_model(
      path, *chosen.backend, options,
      [&bar](double fraction, std::string_view detail) { bar.update(fraction, detail); });
  bar.erase();
  SKEIN_RETURN_IF_ERROR(report);
  const Machine machine = describe_machine();
  if (!flags.markdown.empty()) {
    SKEIN_RETURN_IF_ERROR(write_text(flags.markdown, profile_markdown(*report, machine, path)));
  }
  if (!flags.svg.empty()) {
    SKEIN_RETURN_IF_ERROR(write_text(flags.svg, profile_svg(*report, machine, path)));
  }
  return flags.json ? write_json(profile_json(*report, machine, path))
                    : write_stdout(profile_text(*report, machine, path));
}

void add_model(CLI::App& command, LoadOptions& load) {
  command.add_option("-m,--model", load.model_path, "Model, .safetensors (the shipped one)")
      ->check(file_name())
      ->type_name("FILE")
      ->group("Model");
  add_threads_option(command, load);
  add_quant_option(command, load);
  add_backend_options(command, load);
}

void add_output(CLI::App& command, ProfileFlags& flags) {
  add_json_option(command, flags.json);
  command.add_option("--markdown", flags.markdown, "Also write the tables to FILE")
      ->check(file_name())
      ->type_name("FILE");
  command.add_option("--svg", flags.svg, "Also write a plot of the ideas to FILE")
      ->check(file_name())
      ->type_name("FILE");
}

}  // namespace

void add_profile_command(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<ProfileFlags>();
  CLI::App& command = *app.add_subcommand("profile", "Measure the six ideas and every layout");
  command.add_option("-n,--tokens", flags->profile.num_decode, "Tokens of a decode sample (32)")
      ->check(whole_number(1, 1u << 16))
      ->type_name("N");
  command.add_option("--prefill", flags->profile.num_prefill, "Tokens of a prefill sample (256)")
      ->check(whole_number(1, 1u << 16))
      ->type_name("N");
  command
      .add_option("--budget", flags->profile.budget_seconds,
                  "Seconds of measuring; every variant runs once at least (30)")
      ->check(number(0.1, 86'400))
      ->type_name("S");
  command.add_flag("--simulate-cache", flags->profile.simulate_cache,
                   "Cache hit rates from a model of this CPU's caches instead of counters");
  add_output(command, *flags);
  add_model(command, flags->load);
  add_examples(
      command,
      "  skein profile\n"
      "  skein profile --simulate-cache --markdown profile.md --svg profile.svg\n"
      "  skein profile -m model.safetensors --quant int8 --budget 120 --json\n"
      "  skein profile -m model.safetensors --backend webgpu --budget 120\n"
      "Every idea of the memory layout document alone and added to those before it, beside\n"
      "the document's estimate; see docs/profiling.md. Backend auto is a GPU where there is\n"
      "one, with --simulate-cache the CPU. Layouts, activations and placement are what it\n"
      "measures, so it takes no --plan and no --layout; bench compares two of those.");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
