#include "base/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace skein {
namespace {

bool is_nan(F16 h) { return (h.bits & 0x7fffu) > 0x7c00u; }

TEST(Float16Test, EveryF16SurvivesARoundTrip) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const F16 h{static_cast<uint16_t>(bits)};
    const float f = f32_from(h);
    if (is_nan(h)) {
      EXPECT_TRUE(std::isnan(f));
      EXPECT_TRUE(is_nan(f16_from(f)));
    } else {
      EXPECT_EQ(f16_from(f), h) << bits;
    }
  }
}

// The independent oracle: the neighbour with the smaller distance, computed in double, even on a
// tie.
TEST(Float16Test, NarrowingRoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const F16 below{static_cast<uint16_t>(bits)}, above{static_cast<uint16_t>(bits + 1)};
    const float lo = f32_from(below), hi = f32_from(above);
    const float middle =
        static_cast<float>((static_cast<double>(lo) + static_cast<double>(hi)) / 2);
    EXPECT_EQ(f16_from(middle), (bits & 1u) != 0 ? above : below) << bits;
    EXPECT_EQ(f16_from(std::nextafter(middle, lo)), below) << bits;
    EXPECT_EQ(f16_from(std::nextafter(middle, hi)), above) << bits;
    EXPECT_EQ(f16_from(-middle).bits, f16_from(middle).bits | 0x8000u) << bits;
  }
}

TEST(Float16Test, LargeValuesBecomeInfinite) {
  EXPECT_EQ(f16_from(65519.996f).bits, 0x7bff);
  EXPECT_EQ(f16_from(65520.0f).bits, 0x7c00);
  EXPECT_EQ(f16_from(-1e30f).bits, 0xfc00);
  EXPECT_EQ(f16_from(std::numeric_limits<float>::infinity()).bits, 0x7c00);
}

TEST(BFloat16Test, RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(bf16_from(1.0f).bits, 0x3f80);
  EXPECT_EQ(bf16_from(1.00390625f).bits, 0x3f80);  // halfway between 0x3f80 and 0x3f81: even
  EXPECT_EQ(bf16_from(1.01171875f).bits, 0x3f82);  // halfway between 0x3f81 and 0x3f82: even
  EXPECT_TRUE(std::isnan(f32_from(bf16_from(std::numeric_limits<float>::quiet_NaN()))));
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const BF16 b{static_cast<uint16_t>(bits)};
    if (!std::isnan(f32_from(b))) {
      EXPECT_EQ(bf16_from(f32_from(b)), b) << bits;
    }
  }
}

}  // namespace
}  // namespace skein
