// `skein convert`: a model of any format written as .safetensors or .gguf.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_convert_command(CLI::App& app, Action& action);

}  // namespace skein::cli
