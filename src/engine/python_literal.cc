#include "engine/python_literal.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "engine/utf8_stream.h"

namespace skein {
namespace {

void append_utf8(uint32_t code_point, std::string& out) {
  const auto put = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | code_point >> 6);
    put(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    put(0xe0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3f));
    put(0x80 | (code_point & 0x3f));
  } else {
    put(0xf0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3f));
    put(0x80 | (code_point >> 6 & 0x3f));
    put(0x80 | (code_point & 0x3f));
  }
}

// The number of hex digits after \x, \u, \U; 0 for other escapes.
size_t num_hex_digits(char kind, bool is_bytes) noexcept {
  if (kind == 'x') return 2;
  if (is_bytes) return 0;
  return kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
}

// `escape` starts with a backslash. Returns the number of bytes that it takes.
Result<size_t> append_escape(std::string_view escape, bool is_bytes, std::string& out) {
  const char kind = escape.size() > 1 ? escape[1] : '\0';
  constexpr std::string_view kNames = "ntr\\'\"", kValues = "\n\t\r\\'\"";
  if (const size_t i = kNames.find(kind); i != std::string_view::npos) {
    out.push_back(kValues[i]);
    return 2;
  }
  const size_t digits = num_hex_digits(kind, is_bytes);
  const std::string_view hex = escape.substr(std::min<size_t>(2, escape.size())).substr(0, digits);
  uint32_t value = 0;
  const auto [end, status] = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
  if (digits == 0 || hex.size() != digits || status != std::errc{} || end != hex.data() + digits) {
    return error("expected an escape as repr() writes it, found {}",
                 printable(escape.substr(0, 2 + digits)));
  }
  if (is_bytes) {
    out.push_back(static_cast<char>(value));
  } else if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
    return error("expected a Unicode scalar value, found {}",
                 printable(escape.substr(0, 2 + digits)));
  } else {
    append_utf8(value, out);
  }
  return 2 + digits;
}

// A run of bytes without escapes.
Status append_plain(std::string_view run, bool is_bytes, std::string& out) {
  const bool ascii = std::all_of(run.begin(), run.end(), [](char c) { return (c & 0x80) == 0; });
  if (!ascii && is_bytes)
    return error("expected ASCII in a bytes literal, found {}", printable(run));
  if (!ascii && !is_valid_utf8(run)) return error("expected UTF-8, found {}", printable(run));
  out += run;
  return {};
}

}  // namespace

Status append_python_literal(std::string_view literal, std::string& out) {
  const std::string_view whole = literal;
  const bool is_bytes = literal.starts_with('b');
  if (is_bytes) literal.remove_prefix(1);
  const char quote = literal.empty() ? '\0' : literal.front();
  if (literal.size() < 2 || (quote != '\'' && quote != '"') || literal.back() != quote) {
    return error("expected a Python literal in quotes, found {}", printable(whole));
  }
  const std::string_view body = literal.substr(1, literal.size() - 2);
  for (size_t at = 0; at < body.size();) {
    size_t stop = at;
    while (stop < body.size() && body[stop] != '\\' && body[stop] != quote) ++stop;
    SKEIN_RETURN_IF_ERROR(append_plain(body.substr(at, stop - at), is_bytes, out));
    if (stop == body.size()) break;
    if (body[stop] == quote) {
      return error("expected the closing quote at the end, found one inside {}", printable(whole));
    }
    SKEIN_ASSIGN_OR_RETURN(const size_t taken, append_escape(body.substr(stop), is_bytes, out));
    at = stop + taken;
  }
  return {};
}

std::string printable(std::string_view bytes) {
  constexpr size_t kMaxShown = 40;
  std::string line;
  for (const char c : bytes.substr(0, kMaxShown)) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      line.push_back(c);
    } else {
      line += fmt::format("\\x{:02x}", byte);
    }
  }
  if (bytes.size() > kMaxShown) line += "...";
  return line;
}

}  // namespace skein
