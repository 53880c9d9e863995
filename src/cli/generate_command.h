// `skein generate PROMPT`: continues a text and streams it to stdout.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_generate_command(CLI::App& app, Action& action);

}  // namespace skein::cli
