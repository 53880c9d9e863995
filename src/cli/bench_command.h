// `skein bench`: tokens per second of prefill and decode, beside what the memory could do.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_bench_command(CLI::App& app, Action& action);

}  // namespace skein::cli
