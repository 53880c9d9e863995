// ggml's codecs against independent statements of their definitions. That blocks of files decode to
// the same values is tested in model/plain_tensor_test.cc.
#include "tensor/ggml_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "tensor/codec.h"

namespace skein {
namespace {

double of(float value) { return static_cast<double>(value); }

TEST(GgmlCodecTest, CodesAreWhatTheirFormulasSay) {
  for (const float d : {0.5f, -0.0123f, 6e-8f, 0.0f}) {
    const FactorScale scale = {f16_from(d)};
    for (int q = 0; q < 256; ++q) {
      const int code = q < 128 ? q : q - 256;
      EXPECT_EQ(of(decode_q8_0(scale, static_cast<uint8_t>(q))), of(f32_from(scale.d)) * code);
    }
    for (int q = 0; q < 16; ++q) {
      EXPECT_EQ(of(decode_q4_0(scale, static_cast<uint8_t>(q))), of(f32_from(scale.d)) * (q - 8));
    }
  }
}

// Every factor and minimum of six bits, in the place of every run, beside others that are all ones.
TEST(GgmlCodecTest, RunsFindTheirPairs) {
  for (uint32_t run = 0; run < kQ4KRuns; ++run) {
    for (uint32_t s = 0; s < 64; ++s) {
      const uint32_t t = s * 37 % 64;
      Q4KScale scale{f16_from(1.0f), f16_from(0.5f), {}};
      scale.pairs.fill(0xff);
      uint8_t* p = scale.pairs.data();
      if (run < 4) {
        p[run] = static_cast<uint8_t>((p[run] & 0xc0u) | s);
        p[run + 4] = static_cast<uint8_t>((p[run + 4] & 0xc0u) | t);
      } else {
        p[run + 4] = static_cast<uint8_t>(s % 16 + t % 16 * 16);
        p[run - 4] = static_cast<uint8_t>((p[run - 4] & 0x3fu) | s / 16 * 64);
        p[run] = static_cast<uint8_t>((p[run] & 0x3fu) | t / 16 * 64);
      }
      const RunStep step = run_step(scale, run);
      EXPECT_EQ(step.factor, static_cast<float>(s)) << run;
      EXPECT_EQ(step.min, 0.5f * static_cast<float>(t)) << run;
      EXPECT_EQ(decode(step, 11), 11 * step.factor - step.min);
    }
  }
}

TEST(GgmlCodecTest, EncodesToTheNearestOfTheScale) {
  std::mt19937 random(20261123);
  std::normal_distribution<float> normal(0.1f, 1.0f);
  for (int turn = 0; turn < 200; ++turn) {
    std::vector<float> values(32);
    for (float& value : values) value = normal(random);
    std::vector<uint8_t> codes(32);
    const FactorScale q8 = encode_q8_0(values, codes.data());
    for (size_t i = 0; i < 32; ++i) {
      EXPECT_LE(std::fabs(of(decode_q8_0(q8, codes[i])) - of(values[i])),
                0.52 * of(f32_from(q8.d)) + 127 * 0x1p-12 * of(f32_from(q8.d)));
    }
    const FactorScale q4 = encode_q4_0(values, codes.data());
    const auto largest = std::max_element(
        values.begin(), values.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    EXPECT_EQ(codes[static_cast<size_t>(largest - values.begin())], 0);
    EXPECT_EQ(std::signbit(f32_from(q4.d)), !std::signbit(*largest));
    for (size_t i = 0; i < 32; ++i) {
      // The range has no code 8, so the far end may be off by a whole step.
      EXPECT_LE(std::fabs(of(decode_q4_0(q4, codes[i])) - of(values[i])),
                1.02 * std::fabs(of(f32_from(q4.d))));
    }
  }
}

// The search must not be worse than the plain codes between the minimum and the maximum, which 6
// bits of scale round a little.
TEST(GgmlCodecTest, Q4KIsAsGoodAsItsRange) {
  std::mt19937 random(20261123);
  std::normal_distribution<float> normal(0, 0.05f);
  for (const size_t count : {256u, 200u, 33u, 1u}) {
    for (int turn = 0; turn < 50; ++turn) {
      std::vector<float> values(count);
      for (float& value : values) value = normal(random) + (turn % 3 == 0 ? 0.3f : 0.0f);
      std::vector<uint8_t> codes(count);
      const Q4KScale scale = encode_q4_k(values, codes.data());
      double error = 0, plain = 0;
      for (size_t begin = 0; begin < count; begin += 32) {
        const size_t end = std::min(begin + 32, count);
        const RunStep step = run_step(scale, static_cast<uint32_t>(begin / 32));
        const auto [low, high] = std::minmax_element(values.data() + begin, values.data() + end);
        const double min = std::min(0.0, of(*low)), range = of(*high) - min;
        for (size_t i = begin; i < end; ++i) {
          const double off = of(decode(step, codes[i])) - of(values[i]);
          const double q = range <= 0 ? 0 : std::round((of(values[i]) - min) / range * 15);
          const double plain_off = min + q * range / 15 - of(values[i]);
          error += off * off;
          plain += plain_off * plain_off;
        }
      }
      EXPECT_LE(error, 1.3 * plain + 1e-5 * static_cast<double>(count)) << count << ' ' << turn;
    }
  }
}

TEST(GgmlCodecTest, ZerosAndConstants) {
  for (const float value : {0.0f, -0.0f, 1e-42f, -1e-42f, 1e-7f, 0.25f, -0.25f, 60000.0f}) {
    const std::vector<float> values(256, value);
    for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4K}) {
      std::vector<uint8_t> codes(256);
      std::array<std::byte, 16> scale{};
      const size_t count = block_cols(dtype);
      ASSERT_TRUE(encode_block(dtype, {values.data(), count}, codes.data(), scale.data()));
      for (uint32_t i = 0; i < count; ++i) {
        EXPECT_NEAR(of(decode_in_block(dtype, scale.data(), i, codes[i])), of(value),
                    std::fabs(of(value)) * 0x1p-7 + 5e-6)
            << to_string(dtype);
      }
    }
  }
}

}  // namespace
}  // namespace skein
