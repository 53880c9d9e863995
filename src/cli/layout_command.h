// `skein layout TEXT ROWS COLS`: shows where a layout puts every element, as text, JSON or a
// drawing.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_layout_command(CLI::App& app, Action& action);

}  // namespace skein::cli
