// `skein chat`: a conversation in RWKV's template, line by line, in one session.
#pragma once

#include "cli/command.h"

namespace skein::cli {

void add_chat_command(CLI::App& app, Action& action);

}  // namespace skein::cli
