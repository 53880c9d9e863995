// A drawing of a mapping as SVG: the walk through memory, a line from cell to cell in the order of
// the offsets, its colour running from dark to light along the way.
//
// Goals: one look tells two layouts apart; the same bytes on every machine; readable to about 64
// x 64. Non-goals: large matrices, styles, options.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "layout/any_mapping.h"

namespace skein {

inline constexpr uint64_t kMaxDrawnElems = 128 * 128;

// A whole SVG document. Steps to a neighbouring cell are bold, jumps are thin, jumps over padding
// are dashed; small shapes carry their offsets. `dtype` is a plain word for the caption, such as
// "f16". Fails above kMaxDrawnElems.
Result<std::string> draw_svg(const AnyMapping& mapping, std::string_view dtype);

}  // namespace skein
