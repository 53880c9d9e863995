// choose_plan: which weight plan a model is loaded with.
//
// Goals: what the user says counts first, then the plan file that was named or found, then the
// defaults; a plan file that was only found is never an obstacle. Non-goals: measuring (plan/).
//
// A plan file says something of a model where it has its matrices: the same group, dtype and
// shapes. Of the matrices that it does not have, the default plan counts.
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "model/model_file.h"
#include "model/weight_plan.h"
#include "plan/plan_file.h"
#include "skein/skein.h"

namespace skein {

struct PlanChoice {
  WeightPlan plan;
  std::string path;                   // of the plan file in use; empty: none
  std::string source = "default";     // or "found", "named"
  std::vector<std::string> warnings;  // one line each
};

// $XDG_CONFIG_HOME/skein/plans/, or else $HOME/.config/skein/plans/, and the key's file name. Empty
// where neither variable is set.
std::string default_plan_path(const PlanKey& key);

// For the model at `model_path` on `backend`, which has the plan's forms then. Errors: a layout,
// forms, quant, activations or placement that does not parse; forms that the device has no room
// for; a named plan file that cannot be read, or names a layout or forms that the backend does not
// have. A model that cannot be read is left to the loader's message.
Result<PlanChoice> choose_plan(const LoadOptions& options, const std::string& model_path,
                               Backend& backend);

// For a packed model, whose plan is in its file: of a plan file that was found, only the forms
// count, and only those that were measured with the layout that the file has. The same errors, and
// a plan file that was named.
Result<PlanChoice> choose_packed_plan(const LoadOptions& options, const ModelFile& file,
                                      Backend& backend);

}  // namespace skein
