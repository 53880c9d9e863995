#include "cli/tune_command.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <memory>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/tune_report.h"
#include "engine/impl.h"
#include "engine/plan_choice.h"

namespace skein::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kMaxBudgetSeconds = 86'400;

// Single products have this part of the budget, whole models the rest.
constexpr double kProductShare = 0.6;

struct TuneFlags {
  LoadOptions load;
  double budget_seconds = 60;
  std::string path;
  bool json = false;
};

// "60s", "1.5m" or "60"; nothing for any other text.
std::optional<double> parse_seconds(std::string_view text) {
  double scale = 1;
  if (text.ends_with('s') || text.ends_with('m')) {
    scale = text.ends_with('m') ? 60 : 1;
    text.remove_suffix(1);
  }
  double value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = !text.empty() && code == std::errc() && end == text.data() + text.size();
  if (!whole || !(value > 0 && value * scale <= kMaxBudgetSeconds)) return std::nullopt;
  return value * scale;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// "2026-11-23T09:00:00Z"
std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32] = {};
  const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text, length};
}

// As --layout reads it.
std::string layout_flag(const WeightPlan& plan) {
  std::string text;
  for (const WeightGroup group : kMatrixGroups) {
    if (!plan.names_layout(group)) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", to_string(group),
                        to_string(plan.layout_of(group)));
  }
  return text;
}

// The default plan, the tuned one where it differs, and variants of the latter.
std::vector<Contender> list_contenders(const LoadOptions& load, const Rwkv7& model,
                                       const TuneReport& report, bool with_variants) {
  const WeightPlan& standard = model.plan();
  const WeightPlan tuned = tuned_plan(report, standard);
  const WeightPlan forms = tuned_plan(report, standard, false);
  // Of many forms one is luckily fast; on a device single products say less about a token, too.
  const bool must_be_clear = !model.backend().is_host();
  std::vector<Contender> contenders;
  contenders.push_back({"default", load});
  LoadOptions options = load;
  if (forms != standard && forms != tuned) {
    options.forms = forms.forms_text();
    contenders.push_back({"tuned forms", options, must_be_clear});
  }
  if (tuned != standard) {
    options.layout = layout_flag(tuned);
    options.forms = tuned.forms_text();
    contenders.push_back({"tuned", options, must_be_clear});
  }
  if (!with_variants) return contenders;
  const std::string base = contenders.back().name;
  LoadOptions separate = options, in_file = options;
  separate.activations = to_string(ActivationLayout::kSeparate);
  in_file.placement = to_string(Placement::kFile);
  contenders.push_back({base + ", activations=separate", separate, true, true});
  contenders.push_back({base + ", placement=file", in_file, true, true});
  return contenders;
}

// What the winner says, in the file.
void apply_winner(const TuneOutcome& outcome, const WeightPlan& standard, PlanFile& file) {
  const LoadOptions& options = outcome.best().options;
  if (!options.activations.empty()) file.activations = *parse_activations(options.activations);
  if (!options.placement.empty()) file.placement = *parse_placement(options.placement);
  const WeightPlan plan = *parse_forms(options.forms, *parse_weight_plan(options.layout, standard));
  for (MatrixPlan& matrix : file.matrices) {
    matrix.layout = plan.layout_of(matrix.kind.group, matrix.kind.dtype);
    matrix.form = plan.form_of(matrix.kind.group);
  }
}

// What the user named is a plan file, or nothing yet: a slip of the fingers must not cost a
// model. Devices may be written to.
Status check_output(const std::string& path) {
  std::error_code ignored;
  if (path.empty() || !std::filesystem::is_regular_file(path, ignored)) return {};
  const Result<PlanFile> there = read_plan_file(path);
  if (there) return {};
  return error("{}; expected a plan file to add to, or no file yet", there.error().message);
}

// Adds to the file that is there already, if it is of the same machine, and replaces it otherwise.
Status write_plan(const TuneFlags& flags, const PlanKey& key, const Model& model,
                  TuneOutcome& outcome) {
  PlanFile file = make_plan_file(outcome.report);
  file.key = key;
  file.version = version();
  file.date = utc_now();
  apply_winner(outcome, model.impl().rwkv7->plan(), file);
  if (outcome.contenders.size() > 1) {
    const Speeds standard = outcome.standard().best(), best = outcome.best().best();
    file.checks.push_back({std::filesystem::path(model.info().path).filename().string(),
                           standard.decode, best.decode, standard.prefill, best.prefill});
  }
  const std::string found = default_plan_path(key);
  outcome.path = flags.path.empty() ? found : flags.path;
  outcome.is_found_by_itself = outcome.path == found;
  if (Result<PlanFile> there = read_plan_file(outcome.path); there && there->key == key) {
    there->merge(file);
    file = *std::move(there);
  }
  outcome.file = file;
  return write_plan_file(file, outcome.path);
}

// Whether memory orders have their turn too: where loading the model a few times more is quick.
bool has_time_for_variants(double load_seconds, double check_seconds) {
  constexpr double kLoads = 8;
  return kLoads * load_seconds < check_seconds;
}

Result<TuneOutcome> tune(const TuneFlags& flags, const LoadOptions& load,
                         const std::shared_ptr<Model>& model, double load_seconds) {
  TuneOutcome outcome;
  const Rwkv7& rwkv7 = *model->impl().rwkv7;
  {
    ProgressBar bar("tune");
    TuneOptions options{
        kProductShare * flags.budget_seconds,
        [&bar](double fraction, std::string_view group) { bar.update(fraction, group); }};
    SKEIN_ASSIGN_OR_RETURN(outcome.report, tune_model(rwkv7, options));
  }
  const double check_seconds = (1 - kProductShare) * flags.budget_seconds;
  outcome.contenders = list_contenders(load, rwkv7, outcome.report,
                                       has_time_for_variants(load_seconds, check_seconds));
  if (outcome.contenders.size() > 1) {
    ProgressBar bar("check");
    CheckOptions options;
    options.seconds = check_seconds;
    options.max_prefill = outcome.report.prefill_tokens;
    options.progress = [&bar](double fraction, const std::string& name) {
      bar.update(fraction, name);
    };
    SKEIN_RETURN_IF_ERROR(run_contest(outcome.contenders, model, options));
    outcome.winner = choose_winner(outcome.contenders);
  }
  return outcome;
}

Status run(const TuneFlags& flags) {
  const Clock::time_point start = Clock::now();
  SKEIN_RETURN_IF_ERROR(check_output(flags.path));
  LoadOptions load = flags.load;
  SKEIN_ASSIGN_OR_RETURN(const auto model, load_model(load));
  const ModelInfo& info = model->info();
  // Where `auto` fell back on the CPU, every contender runs there.
  load.backend = info.backend;
  if (info.plan_source == "packed") {
    return error("{}: expected a model whose layouts can be chosen, found a packed one", info.path);
  }
  if (info.backend == "reference") {
    return error("tune: expected backend cpu or webgpu, found {}", info.backend);
  }
  const PlanKey key = make_plan_key(*model->impl().backend, flags.load.precision);
  if (flags.path.empty() && default_plan_path(key).empty()) {
    return error(
        "tune: expected a folder for plans in XDG_CONFIG_HOME or HOME, found neither; "
        "name a file with -o");
  }
  SKEIN_ASSIGN_OR_RETURN(TuneOutcome outcome, tune(flags, load, model, seconds_since(start)));
  SKEIN_RETURN_IF_ERROR(write_plan(flags, key, *model, outcome));
  outcome.seconds = seconds_since(start);
  return flags.json ? write_json(tune_json(outcome)) : write_stdout(tune_text(outcome));
}

}  // namespace

void add_tune_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<TuneFlags>();
  flags->load.plan_path = "none";
  CLI::App& command =
      *app.add_subcommand("tune", "Measure layouts on this machine and write the fastest plan");
  command
      .add_option_function<std::string>(
          "--budget",
          [flags](const std::string& text) { flags->budget_seconds = *parse_seconds(text); },
          "Time to spend, about: 30s, 2m (60s)")
      ->check([](const std::string& text) -> std::string {
        if (parse_seconds(text)) return {};
        return fmt::format("expected a time up to a day, as 60s or 2m, found '{}'", text);
      })
      ->type_name("TIME");
  command
      .add_option("-o,--output", flags->path,
                  "The plan file (where every command finds it by itself)")
      ->check(file_name())
      ->type_name("FILE");
  add_json_option(command, flags->json);
  add_model_file_options(command, flags->load);
  add_backend_options(command, flags->load);
  add_threads_option(command, flags->load);
  add_quant_option(command, flags->load);
  add_examples(
      command,
      "  skein tune\n"
      "  skein tune -m model.safetensors --quant int8 --budget 2m\n"
      "  skein tune --budget 10s -o plan.json && skein bench --plan plan.json\n"
      "  skein tune --backend webgpu -m model.safetensors\n"
      "Every layout that has a kernel is timed with each kind of matrices, one token and\n"
      "many at once, on a GPU also the kernels' workgroups and tiles; the fastest ones\n"
      "are then checked with the whole model, and kept where they are not slower than the\n"
      "defaults (on a GPU: clearly faster). A plan is for one machine, number of threads\n"
      "and precision, or for one GPU and its driver, and for the shapes and types that\n"
      "were measured; the file keeps those of several models. Layouts, activations and\n"
      "placement are what it looks for, from the defaults on: it takes no --plan.");
  command.callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace skein::cli
