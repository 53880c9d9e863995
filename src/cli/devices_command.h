// `skein devices`: the machine, its backends and their kernels.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_devices_command(CLI::App& app, Action& action);

}  // namespace skein::cli
