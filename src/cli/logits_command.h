// `skein logits --ids 1,2,3 -o OUT.npy`: the logits after every token, for other programs to
// compare.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_logits_command(CLI::App& app, Action& action);

}  // namespace skein::cli
