// The program `skein`: its commands, and how a command line becomes an exit status.
#pragma once

namespace skein::cli {

// 0: done. 2: anything else, with exactly one line on stderr, `skein: WHAT IS WRONG`. Results are
// on stdout only.
int run_program(int argc, const char* const* argv) noexcept;

}  // namespace skein::cli
