#include "plan/address_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/bits.h"
#include "layout/test_cases.h"

namespace skein {
namespace {

CacheModel make_cache() {
  return CacheModel::create({64, {{"L1d", 49152, 12}, {"L2", 1 << 20, 16}, {"L3", 1 << 25, 16}}})
      .value();
}

AnyMapping make(std::string_view layout, Extents extents, uint32_t element_bits = 16) {
  return make_mapping(parse_layout(layout).value(), extents, element_bits).value();
}

struct Place {
  AddressSpace space;
  Operands at;
  explicit Place(const AnyMapping& mapping, uint32_t max_tokens = 1)
      : at(place_operands(space, mapping, max_tokens).value()) {}
};

// The lines that the elements (row, col) lie in, element by element: the oracle.
template <class Filter>
uint64_t lines_of(const AnyMapping& mapping, Filter&& wanted) {
  std::set<uint64_t> lines;
  for (uint64_t r = 0; r < mapping.extents().rows; ++r) {
    for (uint64_t c = 0; c < mapping.extents().cols; ++c) {
      if (wanted(r, c)) lines.insert(mapping(r, c) * mapping.element_bits() / 512);
    }
  }
  return lines.size();
}

bool fits(const Layout& layout, uint32_t bits) {
  return layout.align_bytes == 0 || layout.align_bytes * 8 % bits == 0;
}

// Every layout, shape and element: a dense op touches at least the lines of all elements, and
// beyond them only padding that lies in the span.
TEST(AddressStream, DenseTouchesTheLinesOfAllElements) {
  for (const std::string_view text : kTestLayouts) {
    for (const Extents extents : kTestExtents) {
      for (const uint32_t bits : kTestElementBits) {
        if (!fits(parse_layout(text).value(), bits)) continue;
        const AnyMapping mapping = make(text, extents, bits);
        const uint64_t needed = 64 * lines_of(mapping, [](uint64_t, uint64_t) { return true; });
        const uint64_t span = round_up(mapping.span_bytes(), uint64_t{64});
        Place place(mapping, 5);
        CacheModel cache = make_cache();
        for (const StreamReport& report :
             {replay_matvec(cache, place.at, {}), replay_matmul(cache, place.at, 5, {}, {})}) {
          EXPECT_GE(report.weight_bytes_touched, needed) << text;
          EXPECT_LE(report.weight_bytes_touched, span) << text;
          EXPECT_EQ(report.weight_bytes_used, (extents.num_elems() * bits + 7) / 8);
          EXPECT_EQ(report.sampled_percent, 100.0);
        }
      }
    }
  }
}

TEST(AddressStream, SparseTouchesTheLinesOfNonZeroCols) {
  for (const std::string_view text : kTestLayouts) {
    const AnyMapping mapping = make(text, {97, 101});
    const std::vector<uint32_t> cols = {0, 3, 17, 18, 64, 65, 66, 100};
    const std::set<uint64_t> wanted(cols.begin(), cols.end());
    Place place(mapping);
    CacheModel cache = make_cache();
    const StreamReport report = replay_sparse(cache, place.at, cols, {});
    EXPECT_EQ(report.weight_bytes_touched,
              64 * lines_of(mapping, [&](uint64_t, uint64_t c) { return wanted.count(c) != 0; }))
        << text;
    EXPECT_EQ(report.weight_bytes_used, 97 * cols.size() * 2);
  }
}

// Figures that follow from the order by hand: 64 rows of 512 f16, the x of 2 KiB stays in L1.
TEST(AddressStream, RowMajorMatvecByHand) {
  Place place(make("row_major", {64, 512}));
  CacheModel cache = make_cache();
  const StreamReport report = replay_matvec(cache, place.at, {});
  // 32 vectors of weights and of x a row, and one float of y.
  EXPECT_EQ(report.levels[0].accesses, 64u * (32 + 32 + 1));
  // Each line once: 1024 of weights, 32 of x, 4 of y.
  EXPECT_EQ(report.levels[0].misses(), 1024u + 32 + 4);
  EXPECT_EQ(report.memory_bytes, (1024u + 32 + 4) * 64);
  EXPECT_EQ(report.used_percent(), 100.0);
  // A second token finds all of it: 64 KiB are in L2, not in L1.
  const StreamReport again = replay_matvec(cache, place.at, {});
  EXPECT_EQ(again.memory_bytes, 0u);
  EXPECT_EQ(again.hit_percent(), 100.0);
  EXPECT_GE(again.levels[0].misses(), 256u);
}

// Idea 1 for the sparse product: a tenth of the cols is a tenth of the lines in col_major and all
// of them in row_major, where 32 cols share a line.
TEST(AddressStream, SparseColsReadATenthInColMajor) {
  std::vector<uint32_t> cols;
  for (uint32_t c = 5; c < 2048; c += 10) cols.push_back(c);
  CacheModel cache = make_cache();
  Place by_col(make("col_major", {512, 2048})), by_row(make("row_major", {512, 2048}));
  const StreamReport good = replay_sparse(cache, by_col.at, cols, {});
  const StreamReport bad = replay_sparse(cache, by_row.at, cols, {});
  EXPECT_EQ(good.used_percent(), 100.0);
  EXPECT_EQ(good.weight_bytes_touched, cols.size() * 1024);
  EXPECT_EQ(bad.weight_bytes_touched, 512u * 2048 * 2);
  EXPECT_LT(bad.used_percent(), 11.0);
}

TEST(AddressStream, SamplingKeepsTheRates) {
  for (const std::string_view text :
       {"row_major", "col_major", "interleave(16,64,1)", "interleave(4,64)", "morton(32)"}) {
    const AnyMapping mapping = make(text, {2048, 768});
    const auto replay = [&](uint32_t sample_every) {
      Place place(mapping);
      CacheModel cache = make_cache();
      return replay_matvec(cache, place.at, {sample_every});
    };
    const StreamReport all = replay(1), some = replay(4);
    EXPECT_DOUBLE_EQ(some.sampled_percent, 25.0) << text;
    EXPECT_EQ(some.weight_bytes_used * 4, all.weight_bytes_used) << text;
    EXPECT_NEAR(some.hit_percent(), all.hit_percent(), 1.0) << text;
  }
}

TEST(AddressStream, MatmulReadsWeightsOncePerBlockOfTokens) {
  Place place(make("row_major", {64, 256}), 24);
  CacheModel cache = make_cache();
  const StreamReport report = replay_matmul(cache, place.at, 24, {}, {});
  EXPECT_EQ(report.weight_bytes_used, 64u * 256 * 2);
  EXPECT_EQ(report.used_percent(), 100.0);
  // Decoding: loads of four weights, stores of four rows. Packing: the same of x. Multiplying: two
  // panels of rows by two of tokens, two vectors of weights and 12 tokens a col. y: two blocks of
  // cols, the second adds.
  const uint64_t decode = 64 * 256 / 4 * 2, pack = 24 * 256 / 4 * 2;
  const uint64_t multiply = 2 * 2 * 256 * (2 + 12), y = 24 * 4 * (1 + 2);
  EXPECT_EQ(report.levels[0].accesses, decode + pack + multiply + y);
  // New lines: weights, x, packed x, the panel of 128 x 32 floats, y.
  EXPECT_EQ(report.memory_bytes, 64u * (512 + 384 + 384 + 256 + 96));
}

TEST(AddressStream, Mix6CountsItsVectors) {
  const auto replay = [](ActivationLayout layout) {
    AddressSpace space;
    CacheModel cache = make_cache();
    return replay_mix6(cache, place_mix(space, 768, 3, layout), 3);
  };
  const StreamReport packed = replay(ActivationLayout::kPacked);
  // x three times, LN's two, the shift twice, six mixes and six outputs.
  EXPECT_EQ(packed.levels[0].accesses, 3u * 48 * (3 + 2 + 2 + 12));
  // New lines: x and outputs of each token, the rest once.
  EXPECT_EQ(packed.memory_bytes, 64u * 48 * (3 * 7 + 2 + 1 + 6));
  const StreamReport separate = replay(ActivationLayout::kSeparate);
  // x three times, LN's two, LN(x) twice; for each mix LN(x), the one before, the mix, the output;
  // at the end a row to the state.
  EXPECT_EQ(separate.levels[0].accesses, 48u * (3 * (3 + 2 + 2 + 6 * 4) + 2));
  EXPECT_EQ(separate.memory_bytes, 64u * 48 * (3 * 8 + 2 + 1 + 6));
}

TEST(AddressStream, RefusesWhatTheModelCannotAddress) {
  AddressSpace space;
  const Result<Operands> at = place_operands(space, make("row_major", {1 << 20, 1 << 20}, 32), 1);
  ASSERT_FALSE(at.has_value());
  EXPECT_THAT(at.error().message, testing::HasSubstr("at most 16 GiB"));
}

}  // namespace
}  // namespace skein
