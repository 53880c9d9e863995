// WGSL text of a mapping: the function that a shader calls to find an element, made by running the
// mapping's own body (mapping.h) with an index type that builds text.
//
// Non-goals: a WGSL library. Only what the bodies need exists: + - * / % & and min on u32.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "layout/any_mapping.h"

namespace skein {

// `fn NAME(row: u32, col: u32) -> u32 { ... }`, strides and extents baked in as constants; the
// offset is in elements. Fails where the name is no WGSL identifier of letters, digits and
// underscores, or the span is no u32.
Result<std::string> emit_wgsl(const AnyMapping& mapping, std::string_view function_name);

// The same of a row_major mapping whose distance of rows, mapping(1, 0), is a name, so that
// matrices of other widths share the text.
Result<std::string> emit_wgsl_by_stride(const AnyMapping& mapping, std::string_view function_name,
                                        std::string_view stride_name);

}  // namespace skein
