// Layout texts and shapes of any kind: parsing must refuse or print the same meaning back, mappings
// must keep their laws.
//
// Input: one byte that picks the element's bits, two little-endian u64 for rows and cols, the rest
// is the text.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "layout/any_mapping.h"
#include "layout/draw.h"
#include "layout/layout.h"
#include "layout/print.h"
#include "layout/wgsl.h"

namespace skein {
namespace {

// Small enough for thousands of runs a second.
constexpr uint64_t kMaxElems = 1024;
constexpr uint64_t kMaxDim = 32;

void check_offsets(const AnyMapping& mapping) {
  const Extents e = mapping.extents();
  std::vector<uint64_t> offsets;
  for (uint64_t row = 0; row < e.rows; ++row) {
    for (uint64_t col = 0; col < e.cols; ++col) offsets.push_back(mapping(row, col));
  }
  std::sort(offsets.begin(), offsets.end());
  CHECK(std::adjacent_find(offsets.begin(), offsets.end()) == offsets.end());
  CHECK(offsets.back() < mapping.required_span_size());
  CHECK(mapping.is_exhaustive() == (offsets.size() == mapping.required_span_size()));
}

// The corners hold at any size: the laws near 2^63, where products would wrap.
void check_corners(const AnyMapping& mapping) {
  const Extents e = mapping.extents();
  for (const uint64_t row : {uint64_t{0}, e.rows / 2, e.rows - 1}) {
    for (const uint64_t col : {uint64_t{0}, e.cols / 2, e.cols - 1}) {
      CHECK(mapping(row, col) < mapping.required_span_size());
    }
  }
  CHECK(mapping.required_span_size() >= e.num_elems());
  CHECK(mapping.span_bytes() < uint64_t{1} << 63);
}

void check_shape(const Layout& layout, Extents extents, uint32_t element_bits) {
  const Result<AnyMapping> mapping = make_mapping(layout, extents, element_bits);
  if (!mapping) return;
  check_corners(*mapping);
  if (mapping->required_span_size() <= UINT32_MAX) CHECK(emit_wgsl(*mapping, "f").has_value());
  if (extents.num_elems() > kMaxElems) return;
  check_offsets(*mapping);
  CHECK(print_grid(*mapping, "f32").has_value());
  CHECK(draw_svg(*mapping, "f32").has_value());
}

}  // namespace
}  // namespace skein

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t num_bytes) {
  using namespace skein;
  constexpr size_t kHeaderBytes = 1 + 2 * sizeof(uint64_t);
  if (num_bytes < kHeaderBytes) return 0;
  const uint32_t element_bits = 4u << (data[0] % 4);
  Extents extents;
  std::memcpy(&extents.rows, data + 1, sizeof(uint64_t));
  std::memcpy(&extents.cols, data + 1 + sizeof(uint64_t), sizeof(uint64_t));
  const std::string_view text(reinterpret_cast<const char*>(data) + kHeaderBytes,
                              num_bytes - kHeaderBytes);

  const Result<Layout> layout = parse_layout(text);
  if (!layout) {
    CHECK(layout.error().message.find('\n') == std::string::npos);
    return 0;
  }
  CHECK(parse_layout(to_string(*layout)).value() == *layout);
  check_shape(*layout, extents, element_bits);
  check_shape(*layout, {extents.rows % kMaxDim + 1, extents.cols % kMaxDim + 1}, element_bits);
  return 0;
}
