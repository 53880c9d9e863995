// What `skein tune` says: a table of what it tried, the check with the whole model, the verdict; or
// all of it as JSON.
#pragma once

#include <string>
#include <vector>

#include "cli/output.h"
#include "cli/tune_check.h"
#include "plan/tune_model.h"

namespace skein::cli {

// Everything that a run found out.
struct TuneOutcome {
  TuneReport report;
  std::vector<Contender> contenders;  // the default plan first
  size_t winner = 0;                  // of contenders
  PlanFile file;                      // what was written
  std::string path;
  bool is_found_by_itself = false;  // the file lies where the engine looks for it
  double seconds = 0;               // that it all took

  const Contender& standard() const { return contenders.front(); }
  const Contender& best() const { return contenders[winner]; }
};

//

std::string tune_text(const TuneOutcome& outcome);
Json tune_json(const TuneOutcome& outcome);

}  // namespace skein::cli
