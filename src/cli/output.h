// What the program writes: results to stdout, everything else to stderr.
//
// Goals: a result that did not arrive (full disk, closed pipe) is an error like any other, one line
// and exit status 2. Non-goals: C streams. Writes go straight to the descriptor, so nothing waits
// in a buffer when a command fails.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace skein::cli {

// Insertion order is the order on screen.
using Json = nlohmann::ordered_json;

// Writes all of `bytes` to descriptor 1. Error: "stdout: cannot write: No space left on device".
Status write_stdout(std::string_view bytes);
Status write_stdout(std::span<const std::byte> bytes);

// Indented, with a newline behind. Strings that are no UTF-8 get U+FFFD for what is ill-formed.
Status write_json(const Json& value);

// `text` as it is to stderr. A failure is ignored: there is nobody left to tell.
void write_stderr(std::string_view text) noexcept;

// "skein: LINE\n" to stderr; a line break with the space behind it becomes one space, other control
// characters \xNN.
void say(std::string_view line) noexcept;

// `text` on one line, as say() writes it.
std::string one_line(std::string_view text);

// All of stdin. Error: it cannot be read, or has more than max_bytes.
Result<std::string> read_stdin(size_t max_bytes);

}  // namespace skein::cli
