// `skein inspect`: what a model is made of, and where its weights lie.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_inspect_command(CLI::App& app, Action& action);

}  // namespace skein::cli
