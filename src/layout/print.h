// A mapping shown to people and programs: the grid of its offsets as text and as JSON. (draw.h
// draws it.)
//
// Goals: the same output on every machine, so that docs and tests can hold it. Non-goals: large
// matrices; beyond kMaxPrintedElems nobody reads a grid.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "layout/any_mapping.h"

namespace skein {

inline constexpr uint64_t kMaxPrintedElems = 1u << 16;

// One line that says what it is, the offset of every element in aligned columns, one line a row,
// and the offsets below the span that no element uses. `dtype` is a plain word for the heading,
// such as "f16". Fails above kMaxPrintedElems.
Result<std::string> print_grid(const AnyMapping& mapping, std::string_view dtype);

// {"layout", "rows", "cols", "dtype", "num_elems", "span_elems", "offsets": [[...], ...]}, offsets
// by row, on one line. Fails above kMaxPrintedElems.
Result<std::string> print_json(const AnyMapping& mapping, std::string_view dtype);

// "4 x 6 f16: 24 elements in a span of 32".
std::string describe(const AnyMapping& mapping, std::string_view dtype);

// The runs of padding, "6-7, 14, 22-23", or "none"; after `max_runs` the rest is counted.
std::string describe_padding(const AnyMapping& mapping, size_t max_runs);

// The error of a shape that is too large to show, or success.
Status check_shown_elems(const AnyMapping& mapping, uint64_t max_elems);

}  // namespace skein
