#include "layout/state_layout.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <vector>

namespace skein {
namespace {

TEST(StateLayoutTest, TheTextFormParsesBack) {
  for (StateLayout layout : kStateLayouts) EXPECT_EQ(parse_state_layout(to_string(layout)), layout);
  EXPECT_FALSE(parse_state_layout("rows"));
}

TEST(StateLayoutTest, OffsetsAreUniqueAndCoverTheLayer) {
  for (StateLayout layout : kStateLayouts) {
    const StateMapping m{layout, 3, 8};
    std::set<uint64_t> offsets;
    for (uint64_t c = 0; c < m.num_emb(); ++c) {
      offsets.insert(m.att_shift() + c);
      offsets.insert(m.ffn_shift() + c);
    }
    for (uint64_t h = 0; h < 3; ++h) {
      for (uint64_t k = 0; k < 8; ++k) {
        for (uint64_t v = 0; v < 8; ++v) offsets.insert(m.wkv(h, k, v));
      }
    }
    EXPECT_EQ(offsets.size(), m.elems_per_layer()) << to_string(layout);
    EXPECT_EQ(*offsets.rbegin(), m.elems_per_layer() - 1) << to_string(layout);
  }
}

// The seed's [num_emb, head_size + 2, num_batch, 1], fastest first: element (c, row) at row *
// num_emb + c.
TEST(StateLayoutTest, KeyRowsIsTheSeedsShape) {
  const StateMapping m{StateLayout::kKeyRows, 2, 64};
  EXPECT_EQ(m.elems_per_layer(), 128u * 66u);
  EXPECT_EQ(m.wkv(1, 5, 7), 128u * (1 + 5) + 64 + 7);
  EXPECT_EQ(m.ffn_shift(), 128u * 65u);
}

TEST(StateLayoutTest, ConvertingThereAndBackIsTheIdentity) {
  for (StateLayout a : kStateLayouts) {
    for (StateLayout b : kStateLayouts) {
      const StateMapping from{a, 2, 8}, to{b, 2, 8};
      std::vector<float> original(from.elems_per_layer()), there(original.size()),
          back(original.size());
      std::iota(original.begin(), original.end(), 1.0f);
      convert_state_layer(from, original.data(), to, there.data());
      EXPECT_EQ(there[to.wkv(1, 2, 3)], original[from.wkv(1, 2, 3)]);
      convert_state_layer(to, there.data(), from, back.data());
      EXPECT_EQ(original, back) << to_string(a) << " -> " << to_string(b);
    }
  }
}

}  // namespace
}  // namespace skein
