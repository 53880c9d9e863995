// Reads the Python literals of vocabulary files: what repr() writes for a str or a bytes object.
//
// Goals: exactly the forms that repr() produces, so that a damaged file is noticed. Non-goals: all
// of Python's grammar (octal escapes, \N{...}, raw and triple-quoted strings, concatenation).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace skein {

// Appends the bytes that `literal` stands for to `out`: '...' or "..." is text, encoded as UTF-8
// (so \xe9 is two bytes); b'...' or b"..." is bytes (so \xe9 is one). Escapes: \n \t \r \\ \' \"
// \xNN, in text also \uNNNN and \UNNNNNNNN. Linear time. Errors say what was expected and found,
// without a file name; `out` is then unspecified.
Status append_python_literal(std::string_view literal, std::string& out);

// `bytes` as one line for a message: printable ASCII as it is, the rest as \xNN, cut after 40
// bytes.
std::string printable(std::string_view bytes);

}  // namespace skein
