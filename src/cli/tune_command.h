// `skein tune`: the fastest plan on this machine, by measurement.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_tune_command(CLI::App& app, Action& action);

}  // namespace skein::cli
