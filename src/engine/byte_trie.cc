#include "engine/byte_trie.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/check.h"

namespace skein {
namespace {

constexpr uint32_t kNone = 0;  // the root is nobody's child

// A linked trie, in depth-first order: an only child follows its parent.
struct Node {
  uint32_t first_child = kNone;
  uint32_t next_sibling = kNone;
  uint32_t value = 0;
  uint32_t base = 0;
  uint32_t cell = 0;
  uint16_t num_children = 0;
  uint8_t label = 0;
};

std::vector<Node> linked_trie(std::span<const std::string_view> keys,
                              std::span<const uint32_t> values) {
  struct Step {
    uint32_t node, last_child;
  };
  std::vector<Node> nodes(1);
  nodes.reserve(keys.size() * 2);
  std::vector<Step> path{{0, kNone}};  // from the root to the end of the previous key
  std::string_view previous;
  for (size_t k = 0; k < keys.size(); ++k) {
    const std::string_view key = keys[k];
    CHECK(previous < key && values[k] != 0 && values[k] <= ByteTrie::kMaxValue);
    const auto split = std::mismatch(previous.begin(), previous.end(), key.begin(), key.end());
    path.resize(static_cast<size_t>(split.second - key.begin()) + 1);
    for (size_t depth = path.size() - 1; depth < key.size(); ++depth) {
      const auto child = static_cast<uint32_t>(nodes.size());
      Step& parent = path.back();
      (parent.last_child == kNone ? nodes[parent.node].first_child
                                  : nodes[parent.last_child].next_sibling) = child;
      parent.last_child = child;
      ++nodes[parent.node].num_children;
      nodes.push_back({.label = static_cast<uint8_t>(key[depth])});
      path.push_back({child, kNone});
    }
    nodes.back().value = values[k];
    previous = key;
  }
  return nodes;
}

// Gives every node with children a base, such that no two bases and no two cells are the same.
//
// A word of 64 candidate bases is tested at a time: the bases that nobody has, and for each label
// of the node the cells that are free so far beyond them. Nodes with many children come first,
// while there is room; the only children (81 % of World's nodes) fill the holes, near their
// parent's cell where they can: a chain then stays in a cache line or two.
class Placer {
 public:
  explicit Placer(std::vector<Node>& nodes) : nodes_(nodes) {}

  // Returns the number of cells.
  uint32_t place_all() {
    std::array<std::vector<uint32_t>, 257> by_num_children;
    for (uint32_t node = 0; node < nodes_.size(); ++node) {
      if (nodes_[node].num_children > 1) by_num_children[nodes_[node].num_children].push_back(node);
    }
    place(0);  // the root comes first, so its base is 0
    for (size_t n = by_num_children.size(); n-- > 2;) {
      for (const uint32_t node : by_num_children[n]) {
        if (node != 0) place(node);
      }
    }
    for (uint32_t node = 1; node < nodes_.size(); ++node) {
      if (nodes_[node].num_children == 1) place_only_child(node);
    }
    return num_cells_;
  }

 private:
  static constexpr uint32_t kWordBits = 64;
  // The cells of a word's bases reach 255 beyond its last one.
  static constexpr size_t kReachWords = 6;
  static constexpr size_t kNearWords = 2;

  // The occupancy of the 64 cells from `cell` on.
  uint64_t used_cells_from(uint32_t cell) const noexcept {
    const uint32_t word = cell / kWordBits, shift = cell % kWordBits;
    const uint64_t low = used_cells_[word] >> shift;
    return shift == 0 ? low : low | used_cells_[word + 1] << (kWordBits - shift);
  }

  // The bases of `word` that suit the node, as bits.
  uint64_t suitable(const Node& node, size_t word) {
    if (used_cells_.size() < word + kReachWords) {
      used_cells_.resize((word + kReachWords) * 2);
      used_bases_.resize(used_cells_.size());
    }
    uint64_t bits = ~used_bases_[word];
    const auto first = static_cast<uint32_t>(word) * kWordBits;
    for (uint32_t c = node.first_child; c != kNone && bits != 0; c = nodes_[c].next_sibling) {
      bits &= ~used_cells_from(first + nodes_[c].label);
    }
    return bits;
  }

  void take(Node& node, size_t word, uint64_t bits) {
    node.base =
        static_cast<uint32_t>(word) * kWordBits + static_cast<uint32_t>(std::countr_zero(bits));
    used_bases_[word] |= uint64_t{1} << (node.base % kWordBits);
    for (uint32_t c = node.first_child; c != kNone; c = nodes_[c].next_sibling) {
      Node& child = nodes_[c];
      child.cell = node.base + child.label;
      used_cells_[child.cell / kWordBits] |= uint64_t{1} << (child.cell % kWordBits);
      num_cells_ = std::max(num_cells_, child.cell + 1);
    }
  }

  // First fit. The cursor of a number of children never goes back, so that all searches together
  // are linear.
  void place(uint32_t index) {
    Node& node = nodes_[index];
    size_t& cursor = cursors_[node.num_children];
    uint64_t bits = suitable(node, cursor);
    while (bits == 0) bits = suitable(node, ++cursor);
    take(node, cursor, bits);
  }

  void place_only_child(uint32_t index) {
    Node& node = nodes_[index];
    const uint32_t label = nodes_[node.first_child].label;
    const size_t home = (node.cell < label ? 0 : node.cell - label) / kWordBits;
    for (size_t word = home; word < home + kNearWords; ++word) {
      const uint64_t bits = suitable(node, word);
      if (bits != 0) return take(node, word, bits);
    }
    place(index);
  }

  std::vector<Node>& nodes_;
  std::vector<uint64_t> used_cells_, used_bases_;  // one bit each
  std::array<size_t, 257> cursors_{};              // word of bases, by number of children
  uint32_t num_cells_ = 0;
};

}  // namespace

ByteTrie::ByteTrie() : cells_(256, kEmptyCell) {}

ByteTrie::ByteTrie(std::span<const std::string_view> keys, std::span<const uint32_t> values) {
  CHECK(keys.size() == values.size());
  std::vector<Node> nodes = linked_trie(keys, values);
  const uint32_t num_cells = Placer(nodes).place_all();
  CHECK(nodes[0].base == 0);
  // Nothing lies at or beyond num_cells: that base fails for every byte.
  const uint64_t dead_base = num_cells;
  cells_.assign(size_t{num_cells} + 256, kEmptyCell);
  for (size_t i = 1; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    const uint64_t base = node.num_children == 0 ? dead_base : node.base;
    cells_[node.cell] = base << kBaseShift | uint64_t{node.value} << kValueShift | node.label;
  }
}

}  // namespace skein
