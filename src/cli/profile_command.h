// `skein profile`: the six ideas of the document and every layout, measured on one model.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_profile_command(CLI::App& app, Action& action);

}  // namespace skein::cli
