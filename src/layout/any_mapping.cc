#include "layout/any_mapping.h"

#include <optional>

#include "base/bits.h"

namespace skein {
namespace {

// Elements in `align_bytes`; 1 where no alignment is asked for; nothing where an element is no
// whole part of it.
std::optional<uint64_t> elems_of_align(uint32_t align_bytes, uint32_t element_bits) {
  if (align_bytes == 0) return 1;
  const uint64_t align_bits = uint64_t{align_bytes} * 8;
  if (align_bits % element_bits != 0) return std::nullopt;
  return align_bits / element_bits;
}

// How much memory a mapping has: `units` pieces (rows, cols, blocks or tiles), `stride` elements
// apart.
struct Pieces {
  std::optional<uint64_t> units;
  std::optional<uint64_t> stride;
};

std::optional<uint64_t> checked_round_up(uint64_t a, uint64_t b) {
  return checked_mul(ceil_div(a, b), b);
}

Pieces pieces_of(const Layout& layout, Extents extents, uint64_t align_elems) {
  switch (layout.kind) {
    case LayoutKind::kRowMajor:
      return {extents.rows, checked_round_up(extents.cols, align_elems)};
    case LayoutKind::kColMajor:
      return {extents.cols, checked_round_up(extents.rows, align_elems)};
    case LayoutKind::kInterleave:
    case LayoutKind::kTile:
    case LayoutKind::kMorton:
      break;
  }
  const std::optional<uint64_t> blocks = checked_mul(ceil_div<uint64_t>(extents.rows, layout.rows),
                                                     ceil_div<uint64_t>(extents.cols, layout.cols));
  // At most 2^32 elements and an alignment of 2^22: no overflow.
  return {blocks, round_up(uint64_t{layout.rows} * layout.cols, align_elems)};
}

AnyMapping::Typed typed_mapping(const Layout& layout, Extents extents, uint64_t stride) {
  switch (layout.kind) {
    case LayoutKind::kRowMajor:
      return RowMajor(extents, stride);
    case LayoutKind::kColMajor:
      return ColMajor(extents, stride);
    case LayoutKind::kInterleave:
    case LayoutKind::kTile:
      return Interleave(extents, layout.rows, layout.cols, layout.chunk, stride);
    case LayoutKind::kMorton:
      break;
  }
  return Morton(extents, layout.rows, stride);
}

}  // namespace

Result<AnyMapping> make_mapping(const Layout& layout, Extents extents, uint32_t element_bits) {
  // An invalid layout cannot come from parse_layout(), but it can come from a caller's arithmetic
  // on a file's numbers.
  if (const Status valid = validate(layout); !valid) {
    return error("layout {}: {}", to_string(layout), valid.error().message);
  }
  if (element_bits != 4 && element_bits != 8 && element_bits != 16 && element_bits != 32) {
    return error("layout {}: expected elements of 4, 8, 16 or 32 bits, found {}", to_string(layout),
                 element_bits);
  }
  if (extents.rows == 0 || extents.cols == 0) {
    return error("layout {}: expected at least one row and one col, found {} x {}",
                 to_string(layout), extents.rows, extents.cols);
  }
  const std::optional<uint64_t> align_elems = elems_of_align(layout.align_bytes, element_bits);
  if (!align_elems) {
    return error(
        "layout {}: expected the alignment to hold whole elements, found elements of {} bits",
        to_string(layout), element_bits);
  }
  const Pieces pieces = pieces_of(layout, extents, *align_elems);
  std::optional<uint64_t> span_bytes;
  if (pieces.units && pieces.stride) span_bytes = checked_mul(*pieces.units, *pieces.stride);
  // Bytes below 2^63, whatever the element: no sum or difference of offsets can wrap, in elements
  // or in bytes.
  if (span_bytes) span_bytes = checked_mul(*span_bytes, ceil_div(element_bits, 8u));
  if (!span_bytes || *span_bytes >> 63 != 0) {
    return error("layout {}: expected less than 2^63 bytes, found {} x {} elements",
                 to_string(layout), extents.rows, extents.cols);
  }
  return AnyMapping(layout, element_bits, typed_mapping(layout, extents, *pieces.stride));
}

}  // namespace skein
