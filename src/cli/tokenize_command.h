// `skein tokenize TEXT`: text to token ids and back. Needs a vocabulary and no model.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_tokenize_command(CLI::App& app, Action& action);

}  // namespace skein::cli
