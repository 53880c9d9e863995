// Layout: the name of an order in memory as a value, and its text form.
//
// Goals: one small value that is stored with a tensor, written to files, given as a flag and
// printed in errors. Non-goals: offsets. A Layout knows no shape; make_mapping() (any_mapping.h)
// joins the two.
//
// Text form, without spaces or leading zeros:
//
//   row_major            the cols of one row side by side
//   col_major            the rows of one col side by side
//   interleave(R,B)      R rows of one block of B cols, then the next block
//   interleave(R,B,K)    the same; inside a block, chunks of K cols of the R rows in turn
//                        (K divides B)
//   tile(R,C)            R x C tiles, row-major inside and out: the offsets of interleave(R,C)
//   morton(T)            T x T tiles, row-major inside, along a Z-order curve
//   ...@AB               rows (or cols, blocks, tiles) start at multiples of A bytes: row_major@64B
//
// Law: parse_layout(to_string(x)) == x for every valid x, and to_string(parse_layout(t)) == t for
// every t that parses but one kind: interleave(R,B,B), whose K is the default, prints as
// interleave(R,B).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace skein {

enum class LayoutKind : uint8_t { kRowMajor, kColMajor, kInterleave, kTile, kMorton };

// The largest R, B, C, K or T. A block of 2^16 x 2^16 elements is far beyond any cache; the bound
// keeps products of two of them in 64 bits.
inline constexpr uint32_t kMaxBlockDim = 1u << 16;

// The largest alignment: 2 MiB, one huge page.
inline constexpr uint32_t kMaxAlignBytes = 1u << 21;

// Make one with the factories: they set the fields that a kind does not use, so that == compares
// meaning.
struct Layout {
  LayoutKind kind = LayoutKind::kRowMajor;
  // Of a block or tile; chunk is K, the cols of one row side by side inside it. 0 for row_major and
  // col_major, all three.
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint32_t chunk = 0;
  // 0: no alignment asked for.
  uint32_t align_bytes = 0;

  static constexpr Layout row_major(uint32_t align_bytes = 0) {
    return {LayoutKind::kRowMajor, 0, 0, 0, align_bytes};
  }
  static constexpr Layout col_major(uint32_t align_bytes = 0) {
    return {LayoutKind::kColMajor, 0, 0, 0, align_bytes};
  }
  // chunk 0 means the whole block's cols.
  static constexpr Layout interleave(uint32_t rows, uint32_t cols, uint32_t chunk = 0,
                                     uint32_t align_bytes = 0) {
    return {LayoutKind::kInterleave, rows, cols, chunk == 0 ? cols : chunk, align_bytes};
  }
  static constexpr Layout tile(uint32_t rows, uint32_t cols, uint32_t align_bytes = 0) {
    return {LayoutKind::kTile, rows, cols, cols, align_bytes};
  }
  static constexpr Layout morton(uint32_t side, uint32_t align_bytes = 0) {
    return {LayoutKind::kMorton, side, side, side, align_bytes};
  }

  friend constexpr bool operator==(const Layout&, const Layout&) = default;
};

// Whether the fields are ones that the text form can say: every dimension 1 to kMaxBlockDim, chunk
// divides cols, alignment 0 or a power of two up to kMaxAlignBytes. parse_layout() and
// make_mapping() call it.
Status validate(const Layout& layout);

// The layout that `text` names, or one line that quotes the text and says what is wrong with it.
Result<Layout> parse_layout(std::string_view text);

// The text form. Total: an invalid layout prints too, so that an error can show it.
std::string to_string(const Layout& layout);

}  // namespace skein
