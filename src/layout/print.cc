#include "layout/print.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <vector>

namespace skein {
namespace {

constexpr size_t kMaxPaddingRuns = 12;

// The offsets in use, ascending.
std::vector<uint64_t> sorted_offsets(const AnyMapping& mapping) {
  std::vector<uint64_t> offsets;
  offsets.reserve(mapping.extents().num_elems());
  for (uint64_t row = 0; row < mapping.extents().rows; ++row) {
    for (uint64_t col = 0; col < mapping.extents().cols; ++col)
      offsets.push_back(mapping(row, col));
  }
  std::sort(offsets.begin(), offsets.end());
  return offsets;
}

}  // namespace

Status check_shown_elems(const AnyMapping& mapping, uint64_t max_elems) {
  const Extents extents = mapping.extents();
  if (extents.num_elems() > max_elems) {
    return error("expected at most {} elements to show, found {} x {} = {}", max_elems,
                 extents.rows, extents.cols, extents.num_elems());
  }
  return {};
}

std::string describe(const AnyMapping& mapping, std::string_view dtype) {
  return fmt::format("{} x {} {}: {} elements in a span of {}", mapping.extents().rows,
                     mapping.extents().cols, dtype, mapping.extents().num_elems(),
                     mapping.required_span_size());
}

std::string describe_padding(const AnyMapping& mapping, size_t max_runs) {
  std::vector<uint64_t> used = sorted_offsets(mapping);
  used.push_back(mapping.required_span_size());  // ends the last run
  std::string text;
  size_t num_runs = 0;
  uint64_t expected = 0;
  for (const uint64_t offset : used) {
    if (offset > expected && ++num_runs <= max_runs) {
      if (num_runs > 1) text += ", ";
      text += offset == expected + 1 ? fmt::format("{}", expected)
                                     : fmt::format("{}-{}", expected, offset - 1);
    }
    expected = offset + 1;
  }
  if (num_runs == 0) return "none";
  if (num_runs > max_runs) text += fmt::format(" and {} runs more", num_runs - max_runs);
  return text;
}

Result<std::string> print_grid(const AnyMapping& mapping, std::string_view dtype) {
  SKEIN_RETURN_IF_ERROR(check_shown_elems(mapping, kMaxPrintedElems));
  const uint64_t largest = sorted_offsets(mapping).back();
  const size_t width = fmt::formatted_size("{}", largest);
  std::string text =
      fmt::format("{}  {}\n\n", to_string(mapping.layout()), describe(mapping, dtype));
  for (uint64_t row = 0; row < mapping.extents().rows; ++row) {
    for (uint64_t col = 0; col < mapping.extents().cols; ++col) {
      fmt::format_to(std::back_inserter(text), "{}{:>{}}", col == 0 ? "" : " ", mapping(row, col),
                     width);
    }
    text += '\n';
  }
  fmt::format_to(std::back_inserter(text), "\npadding: {}\n",
                 describe_padding(mapping, kMaxPaddingRuns));
  return text;
}

Result<std::string> print_json(const AnyMapping& mapping, std::string_view dtype) {
  SKEIN_RETURN_IF_ERROR(check_shown_elems(mapping, kMaxPrintedElems));
  nlohmann::ordered_json offsets = nlohmann::ordered_json::array();
  for (uint64_t row = 0; row < mapping.extents().rows; ++row) {
    nlohmann::ordered_json& line = offsets.emplace_back(nlohmann::ordered_json::array());
    for (uint64_t col = 0; col < mapping.extents().cols; ++col) line.push_back(mapping(row, col));
  }
  const nlohmann::ordered_json json = {
      {"layout", to_string(mapping.layout())},
      {"rows", mapping.extents().rows},
      {"cols", mapping.extents().cols},
      {"dtype", dtype},
      {"num_elems", mapping.extents().num_elems()},
      {"span_elems", mapping.required_span_size()},
      {"offsets", offsets},
  };
  return json.dump() + "\n";
}

}  // namespace skein
