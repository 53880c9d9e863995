// The convention for commands. Each command has its own header with one function,
// add_NAME_command(app, action): it adds its subcommand to the app and, when the user chose it,
// puts its work into `action`, which main() runs after parsing.
//
// A command returns its failure as a Status; main() prints it as one line and sets the exit code.
// Results go to stdout.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/result.h"

namespace skein::cli {

// The command chosen by the user, run after parsing; empty where none was.
using Action = std::function<Status()>;

}  // namespace skein::cli
