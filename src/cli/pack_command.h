// `skein pack`: write a model in its planned types and layouts, for loading without packing.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_pack_command(CLI::App& app, Action& action);

}  // namespace skein::cli
