#include "engine/plan_choice.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "model/matrix_kinds.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNoPlan = "none";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The plan that is asked for by name; empty: none is.
std::string named_plan(const LoadOptions& options) {
  return options.plan_path.empty() ? variable("SKEIN_PLAN") : options.plan_path;
}

// A plan file and what to think of it.
struct Candidate {
  PlanFile file;
  std::string path;
  bool named = false;
};

// The file that counts, if any. What keeps a found one from counting is a warning.
Result<std::optional<Candidate>> find_plan_file(const LoadOptions& options, const Backend& backend,
                                                std::vector<std::string>& warnings) {
  std::optional<Candidate> none;
  Candidate candidate;
  candidate.path = named_plan(options);
  if (candidate.path == kNoPlan) return none;
  const PlanKey key = make_plan_key(backend, options.precision);
  candidate.named = !candidate.path.empty();
  if (candidate.named) {
    SKEIN_ASSIGN_OR_RETURN(candidate.file, read_plan_file(candidate.path));
  } else {
    candidate.path = default_plan_path(key);
    std::error_code ignored;
    if (candidate.path.empty() || !fs::exists(candidate.path, ignored)) return none;
    Result<PlanFile> file = read_plan_file(candidate.path);
    if (!file) {
      warnings.push_back(
          fmt::format("{}; the default plan counts (--plan none says so)", file.error().message));
      return none;
    }
    candidate.file = *std::move(file);
  }
  if (candidate.file.key == key) return candidate;
  warnings.push_back(
      fmt::format("{}: expected a plan for {}, found one for {}; {}", candidate.path,
                  to_string(key), to_string(candidate.file.key),
                  candidate.named ? "it counts since it was named" : "the default plan counts"));
  return candidate.named ? std::optional(std::move(candidate)) : none;
}

// Gives the layouts and forms in the file to the kinds that are alone in their group; matrices of
// one group and several dtypes keep the defaults, since a group has one layout. Returns how many it
// gave.
Result<uint32_t> apply(const PlanFile& file, const std::vector<MatrixKind>& kinds, Backend& backend,
                       WeightPlan& plan) {
  uint32_t num_given = 0;
  for (const MatrixKind& kind : kinds) {
    const auto in_group = [&](const MatrixKind& other) { return other.group == kind.group; };
    const MatrixPlan* matrix = file.find(kind);
    if (matrix == nullptr || std::count_if(kinds.begin(), kinds.end(), in_group) > 1) continue;
    SKEIN_RETURN_IF_ERROR(check_kernel(backend.name(), backend.kernels(), matrix_op(kind.group),
                                       kind.dtype, matrix->layout));
    plan.set_layout(kind.group, matrix->layout);
    plan.set_form(kind.group, matrix->form);
    ++num_given;
  }
  SKEIN_RETURN_IF_ERROR(backend.set_forms(plan.forms));
  return num_given;
}

// Puts what the file says of the model into choice.plan.
Status use_file(const Candidate& candidate, const std::string& model_path, Backend& backend,
                PlanChoice& choice) {
  const Result<std::vector<MatrixKind>> kinds = read_matrix_kinds(model_path, choice.plan);
  if (!kinds) return {};
  WeightPlan plan = choice.plan;
  Result<uint32_t> num_given = apply(candidate.file, *kinds, backend, plan);
  if (!num_given) {
    std::string message = fmt::format("{}: {}", candidate.path, num_given.error().message);
    if (candidate.named) return error("{}", message);
    choice.warnings.push_back(fmt::format("{}; the default plan counts", message));
    return {};
  }
  if (*num_given == 0) {
    if (!candidate.named) return {};
    choice.warnings.push_back(
        fmt::format("{}: expected a plan for the matrices of {}, found none; the default plan "
                    "counts",
                    candidate.path, model_path));
    return {};
  }
  plan.activations = candidate.file.activations;
  plan.placement = candidate.file.placement;
  choice.plan = plan;
  choice.path = candidate.path;
  choice.source = candidate.named ? "named" : "found";
  return {};
}

// What the user says, over all else; the backend has the forms then.
Status use_options(const LoadOptions& options, Backend& backend, WeightPlan& plan) {
  SKEIN_ASSIGN_OR_RETURN(plan, parse_weight_plan(options.layout, plan));
  SKEIN_ASSIGN_OR_RETURN(plan, parse_forms(options.forms, plan));
  SKEIN_RETURN_IF_ERROR(backend.set_forms(plan.forms));
  if (!options.activations.empty()) {
    SKEIN_ASSIGN_OR_RETURN(plan.activations, parse_activations(options.activations));
  }
  if (!options.placement.empty()) {
    SKEIN_ASSIGN_OR_RETURN(plan.placement, parse_placement(options.placement));
  }
  return {};
}

// Those of the plan file that were measured with the layouts of the packed one.
KernelForms packed_forms(const PlanFile& plan_file, const ModelFile& file) {
  WeightPlan forms;
  for (const MatrixKind& kind : packed_matrix_kinds(file)) {
    const MatrixPlan* matrix = plan_file.find(kind);
    if (matrix == nullptr) continue;
    if (matrix->layout == packed_layout(file, kind)) forms.set_form(kind.group, matrix->form);
  }
  return forms.forms;
}

}  // namespace

std::string default_plan_path(const PlanKey& key) {
  fs::path folder = variable("XDG_CONFIG_HOME");
  if (folder.empty()) {
    const std::string home = variable("HOME");
    if (home.empty()) return {};
    folder = fs::path(home) / ".config";
  }
  return (folder / "skein" / "plans" / plan_file_name(key)).string();
}

Result<PlanChoice> choose_plan(const LoadOptions& options, const std::string& model_path,
                               Backend& backend) {
  PlanChoice choice;
  choice.plan = default_plan(backend.dense_layouts());
  SKEIN_ASSIGN_OR_RETURN(choice.plan, parse_quant(options.quant, choice.plan));
  SKEIN_ASSIGN_OR_RETURN(const auto candidate, find_plan_file(options, backend, choice.warnings));
  if (candidate) SKEIN_RETURN_IF_ERROR(use_file(*candidate, model_path, backend, choice));
  SKEIN_RETURN_IF_ERROR(use_options(options, backend, choice.plan));
  return choice;
}

Result<PlanChoice> choose_packed_plan(const LoadOptions& options, const ModelFile& file,
                                      Backend& backend) {
  if (!options.plan_path.empty() && options.plan_path != kNoPlan) {
    return error("{}: expected no plan for a packed model, which has its own, found {}",
                 file.path(), options.plan_path);
  }
  PlanChoice choice;
  choice.source = "packed";
  choice.plan = default_plan(backend.dense_layouts());
  SKEIN_ASSIGN_OR_RETURN(choice.plan, parse_quant(options.quant, choice.plan));
  // A host has no forms.
  if (!backend.is_host()) {
    SKEIN_ASSIGN_OR_RETURN(const auto candidate, find_plan_file(options, backend, choice.warnings));
    if (candidate) choice.plan.forms = packed_forms(candidate->file, file);
    if (const Status set = backend.set_forms(choice.plan.forms); !set) {
      choice.warnings.push_back(fmt::format("{}: {}; the backend's own forms count",
                                            candidate->path, set.error().message));
      choice.plan.forms = {};
    }
  }
  SKEIN_RETURN_IF_ERROR(use_options(options, backend, choice.plan));
  return choice;
}

}  // namespace skein
