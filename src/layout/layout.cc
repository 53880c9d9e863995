#include "layout/layout.h"

#include <charconv>
#include <iterator>
#include <string>
#include <vector>

#include "base/bits.h"

namespace skein {
namespace {

struct Name {
  std::string_view text;
  LayoutKind kind;
  size_t min_params;
  size_t max_params;
  std::string_view params;  // as a message shows them
};

constexpr Name kNames[] = {
    {"row_major", LayoutKind::kRowMajor, 0, 0, ""},
    {"col_major", LayoutKind::kColMajor, 0, 0, ""},
    {"interleave", LayoutKind::kInterleave, 2, 3, "(R,B) or (R,B,K)"},
    {"tile", LayoutKind::kTile, 2, 2, "(R,C)"},
    {"morton", LayoutKind::kMorton, 1, 1, "(T)"},
};

// A text long enough for every layout, short enough for an error line.
constexpr size_t kMaxTextChars = 64;

// A decimal number from 1 to `max` without sign or leading zeros.
Result<uint32_t> parse_number(std::string_view digits, uint32_t max, std::string_view what) {
  uint32_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [rest, problem] = std::from_chars(digits.data(), end, value);
  const bool in_range = problem == std::errc() && rest == end && value >= 1 && value <= max;
  if (!in_range || digits.front() == '0') {
    return error("expected {} to be a number from 1 to {}, found '{}'", what, max, digits);
  }
  return value;
}

// The numbers of "(4,64)"; none for "".
Result<std::vector<uint32_t>> parse_params(std::string_view text) {
  std::vector<uint32_t> params;
  if (text.empty()) return params;
  if (text.front() != '(' || text.back() != ')') {
    return error("expected '(numbers)' or the end after the name, found '{}'", text);
  }
  text = text.substr(1, text.size() - 2);
  while (true) {
    const size_t comma = text.find(',');
    SKEIN_ASSIGN_OR_RETURN(const uint32_t value,
                           parse_number(text.substr(0, comma), kMaxBlockDim, "a parameter"));
    params.push_back(value);
    if (comma == std::string_view::npos) return params;
    text.remove_prefix(comma + 1);
  }
}

// The A of "128B".
Result<uint32_t> parse_align(std::string_view text) {
  if (text.empty() || text.back() != 'B') {
    return error("expected an alignment in bytes such as '@128B', found '@{}'", text);
  }
  text.remove_suffix(1);
  return parse_number(text, kMaxAlignBytes, "the alignment");
}

Result<Layout> parse_parts(std::string_view text) {
  uint32_t align_bytes = 0;
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    SKEIN_ASSIGN_OR_RETURN(align_bytes, parse_align(text.substr(at + 1)));
    text = text.substr(0, at);
  }
  const std::string_view name = text.substr(0, text.find('('));
  for (const Name& known : kNames) {
    if (known.text != name) continue;
    SKEIN_ASSIGN_OR_RETURN(const std::vector<uint32_t> params,
                           parse_params(text.substr(name.size())));
    if (params.size() < known.min_params || params.size() > known.max_params) {
      return error("expected {}{}, found {} parameters", known.text, known.params, params.size());
    }
    switch (known.kind) {
      case LayoutKind::kRowMajor:
        return Layout::row_major(align_bytes);
      case LayoutKind::kColMajor:
        return Layout::col_major(align_bytes);
      case LayoutKind::kInterleave:
        return Layout::interleave(params[0], params[1], params.size() == 3 ? params[2] : params[1],
                                  align_bytes);
      case LayoutKind::kTile:
        return Layout::tile(params[0], params[1], align_bytes);
      case LayoutKind::kMorton:
        return Layout::morton(params[0], align_bytes);
    }
  }
  return error("expected row_major, col_major, interleave, tile or morton, found '{}'", name);
}

// Every byte of the user's text that is no printable ASCII shows as '?', so that an error stays one
// line.
std::string quoted(std::string_view text) {
  std::string shown(text.substr(0, kMaxTextChars));
  for (char& c : shown) {
    if (c < ' ' || c > '~') c = '?';
  }
  return fmt::format("'{}{}'", shown, text.size() > kMaxTextChars ? "..." : "");
}

}  // namespace

Status validate(const Layout& layout) {
  const bool is_blocked =
      layout.kind != LayoutKind::kRowMajor && layout.kind != LayoutKind::kColMajor;
  const uint32_t dims[] = {layout.rows, layout.cols, layout.chunk};
  for (const uint32_t dim : dims) {
    if (is_blocked && (dim == 0 || dim > kMaxBlockDim)) {
      return error("expected block dimensions from 1 to {}, found {}", kMaxBlockDim, dim);
    }
    if (!is_blocked && dim != 0) return error("expected no block dimensions, found {}", dim);
  }
  if (is_blocked && layout.cols % layout.chunk != 0) {
    return error("expected K to divide B, found K = {} and B = {}", layout.chunk, layout.cols);
  }
  if (layout.kind == LayoutKind::kTile && layout.chunk != layout.cols) {
    return error("expected a tile's rows in one piece, found chunks of {} in {} cols", layout.chunk,
                 layout.cols);
  }
  if (layout.kind == LayoutKind::kMorton &&
      (layout.rows != layout.cols || layout.chunk != layout.cols)) {
    return error("expected square tiles, found {} x {}", layout.rows, layout.cols);
  }
  if (layout.align_bytes != 0 &&
      (!is_power_of_two(layout.align_bytes) || layout.align_bytes > kMaxAlignBytes)) {
    return error("expected the alignment to be a power of two up to {} bytes, found {}",
                 kMaxAlignBytes, layout.align_bytes);
  }
  return {};
}

Result<Layout> parse_layout(std::string_view text) {
  if (text.size() > kMaxTextChars)
    return error("layout {}: expected at most {} characters", quoted(text), kMaxTextChars);
  // Checked here, so that no message below can quote a control character.
  for (const char c : text) {
    if (c <= ' ' || c > '~')
      return error("layout {}: expected no spaces or special characters", quoted(text));
  }
  Result<Layout> layout = parse_parts(text);
  if (!layout) return error("layout {}: {}", quoted(text), layout.error().message);
  if (const Status valid = validate(*layout); !valid) {
    return error("layout {}: {}", quoted(text), valid.error().message);
  }
  return layout;
}

std::string to_string(const Layout& layout) {
  std::string text = "unknown";
  for (const Name& known : kNames) {
    if (known.kind == layout.kind) text = known.text;
  }
  switch (layout.kind) {
    case LayoutKind::kRowMajor:
    case LayoutKind::kColMajor:
      break;
    case LayoutKind::kInterleave:
      fmt::format_to(std::back_inserter(text), "({},{}", layout.rows, layout.cols);
      if (layout.chunk != layout.cols)
        fmt::format_to(std::back_inserter(text), ",{}", layout.chunk);
      text += ')';
      break;
    case LayoutKind::kTile:
      fmt::format_to(std::back_inserter(text), "({},{})", layout.rows, layout.cols);
      break;
    case LayoutKind::kMorton:
      fmt::format_to(std::back_inserter(text), "({})", layout.rows);
      break;
  }
  if (layout.align_bytes != 0) fmt::format_to(std::back_inserter(text), "@{}B", layout.align_bytes);
  return text;
}

}  // namespace skein
