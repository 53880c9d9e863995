// Where the numbers of an RWKV-7 recurrent state lie, by name.
//
// A state holds, per layer and slot, the two token-shift rows ([C] each) and one S x S matrix per
// head, all f32: C * (S + 2) elements whatever the layout. Engines disagree on the order and none
// names it, so states cannot be exchanged; here the order is a value, stored with every state that
// leaves memory.
//
// Laws: every offset is unique and below elems_per_layer(); convert(a -> b -> a) is the identity.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace skein {

enum class StateLayout : uint8_t {
  // [S + 2][C]: row 0 the attention shift, rows 1..S the matrices (row = key index, col = h * S +
  // value index), row S + 1 the ffn shift. The seed's `[num_emb, head_size + 2, num_batch, 1]`, as
  // web-rwkv has it. One head is 64 short runs that lie C * 4 bytes apart: with C = 2048 they share
  // four sets of a 64-set L1 cache.
  kKeyRows,
  // [C] shift, [H][K][V], [C] shift: one head is 16 KiB side by side, value index fastest, so that
  // S r needs no horizontal sums when lanes run over values.
  kHeadKeyValue,
  // [C] shift, [H][V][K], [C] shift: BlinkDL's, rwkv.cpp's and llama.cpp's order.
  kHeadValueKey,
};

inline constexpr std::array<StateLayout, 3> kStateLayouts = {
    StateLayout::kKeyRows, StateLayout::kHeadKeyValue, StateLayout::kHeadValueKey};

constexpr std::string_view to_string(StateLayout layout) noexcept {
  switch (layout) {
    case StateLayout::kKeyRows:
      return "key_rows";
    case StateLayout::kHeadKeyValue:
      return "head_key_value";
    case StateLayout::kHeadValueKey:
      return "head_value_key";
  }
  return "?";
}

constexpr std::optional<StateLayout> parse_state_layout(std::string_view text) noexcept {
  for (StateLayout layout : kStateLayouts) {
    if (text == to_string(layout)) return layout;
  }
  return std::nullopt;
}

// The offsets of one layer of one slot, in f32 elements from its start. The shift rows lie first
// and last in every layout.
struct StateMapping {
  StateLayout layout = StateLayout::kKeyRows;
  uint32_t num_heads = 0;  // H
  uint32_t head_size = 0;  // S

  constexpr uint64_t num_emb() const noexcept { return uint64_t{num_heads} * head_size; }
  constexpr uint64_t elems_per_layer() const noexcept { return num_emb() * (head_size + 2); }

  constexpr uint64_t att_shift() const noexcept { return 0; }
  constexpr uint64_t ffn_shift() const noexcept { return num_emb() * (head_size + 1); }

  // Offset of S[value][key] of `head`.
  constexpr uint64_t wkv(uint64_t head, uint64_t key, uint64_t value) const noexcept {
    const uint64_t S = head_size;
    switch (layout) {
      case StateLayout::kKeyRows:
        return num_emb() * (1 + key) + head * S + value;
      case StateLayout::kHeadKeyValue:
        return num_emb() + (head * S + key) * S + value;
      case StateLayout::kHeadValueKey:
        return num_emb() + (head * S + value) * S + key;
    }
    return 0;
  }
};

// One layer of one slot from one order to another: the same values at the new offsets.
// Precondition: the same heads and head size; `from` and `to` of elems_per_layer() elements that do
// not overlap.
constexpr void convert_state_layer(const StateMapping& from_mapping, const float* from,
                                   const StateMapping& to_mapping, float* to) noexcept {
  const uint64_t C = from_mapping.num_emb(), S = from_mapping.head_size;
  for (uint64_t c = 0; c < C; ++c) {
    to[to_mapping.att_shift() + c] = from[from_mapping.att_shift() + c];
    to[to_mapping.ffn_shift() + c] = from[from_mapping.ffn_shift() + c];
  }
  for (uint64_t head = 0; head < from_mapping.num_heads; ++head) {
    for (uint64_t key = 0; key < S; ++key) {
      for (uint64_t value = 0; value < S; ++value) {
        to[to_mapping.wkv(head, key, value)] = from[from_mapping.wkv(head, key, value)];
      }
    }
  }
}

}  // namespace skein
