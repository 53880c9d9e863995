// `skein perplexity TEXTFILE`: how well a model predicts a text, and how far it is from another
// model.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_perplexity_command(CLI::App& app, Action& action);

}  // namespace skein::cli
