// ByteTrie: a set of byte strings with a value each, that finds the longest one at the start of a
// text.
//
// Layout: a double-array trie of 8-byte cells. A node is a base; its child for byte c is the cell
// at base + c, if that cell carries the label c:
//
//     bits   0..8   label: the byte that leads here; 256 in an empty cell
//     bits   9..31  value of the string that ends here, 0 for none
//     bits  32..63  base of this node
//
// No two nodes have the same base, so the label alone proves whose child a cell is (classic double
// arrays store the parent's index for that, which costs a second load or four more bytes). A lookup
// is one load, one compare and one add a byte. A node without children has the base of a run of
// empty cells, so that the loop needs no test for leaves; all leaves share that run, and it stays
// in L1.
//
// Bytes: the World vocabulary (65,529 tokens, 116,079 nodes) takes 8 * 121,359 = 0.93 MiB: it fits
// an L2 of 1 MiB, and English text touches a small part of it. Alternatives: 256 u32 children a
// node would take 113 MiB; sorted children with a binary search about as much as here, but several
// dependent loads a byte; a hash of all tokens one probe for each possible length, up to 128.
//
// Non-goals: insertion after the build, iteration.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace skein {

class ByteTrie {
 public:
  static constexpr uint32_t kMaxValue = (1u << 23) - 1;

  // value 0: no string of the set starts the text.
  struct Match {
    uint32_t value;
    uint32_t num_bytes;
  };

  // The empty set.
  ByteTrie();

  // `keys` ascending, without duplicates and without the empty string; `values` in [1, kMaxValue],
  // as many. Cost: linear in the bytes of the keys.
  ByteTrie(std::span<const std::string_view> keys, std::span<const uint32_t> values);

  // The longest key that [begin, end) starts with. Hot: 5 to 10 ns a byte, most of it
  // the mispredicted end of each token. Reads no further than the longest key.
  Match longest_prefix(const char* begin, const char* end) const noexcept {
    const uint64_t* const cells = cells_.data();
    Match best{0, 0};
    uint64_t base = 0;
    for (const char* at = begin; at != end; ++at) {
      const uint64_t byte = static_cast<uint8_t>(*at);
      const uint64_t cell = cells[base + byte];
      if ((cell & kLabelMask) != byte) break;
      const auto value = static_cast<uint32_t>(cell) >> kValueShift;
      if (value != 0) best = {value, static_cast<uint32_t>(at - begin) + 1};
      base = cell >> kBaseShift;
    }
    return best;
  }

  uint64_t alloc_bytes() const noexcept { return cells_.size() * sizeof(uint64_t); }

 private:
  static constexpr uint64_t kLabelMask = 0x1ff;
  static constexpr uint64_t kEmptyCell = 0x100;
  static constexpr uint32_t kValueShift = 9;
  static constexpr uint32_t kBaseShift = 32;

  std::vector<uint64_t>
      cells_;  // 256 cells follow the largest base: a lookup never leaves the array
};

}  // namespace skein
