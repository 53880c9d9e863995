// Result<T>: the value, or one clear line that says what was expected and what was found.
//
// Every failure that the world can cause (a file, a device, memory, user input) is a value, never
// an exception and never an abort.
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace skein {

// `message` is one line without a full stop, in the form "FILE: what was expected, what was found".
struct Error {
  std::string message;
};

template <typename T>
using Result = tl::expected<T, Error>;

using Status = Result<void>;

}  // namespace skein
