// The scalar codecs against independent statements of their definitions, in double.
#include "tensor/codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <random>
#include <vector>

#include "tensor/quant_kernels.h"

namespace skein {
namespace {

TEST(CodecTest, SF4CodesAreQuantilesOfStudentsT) {
  const auto distribution = [](double t) {
    const double u = std::atan(t / std::sqrt(5.0));
    const double c = std::cos(u), s = std::sin(u);
    return 0.5 + (u + s * c + 2.0 / 3.0 * s * c * c * c) / std::numbers::pi;
  };
  const auto quantile = [&](double p) {
    double low = -100, high = 100;
    for (int i = 0; i < 200; ++i) {
      const double middle = (low + high) / 2;
      (distribution(middle) < p ? low : high) = middle;
    }
    return low;
  };
  const double delta = (1.0 / 32 + 1.0 / 30) / 2;
  const double largest = quantile(1 - delta);
  for (int i = 0; i < 16; ++i) {
    const double p = i < 8 ? delta + (0.5 - delta) * i / 7 : 0.5 + (0.5 - delta) * (i - 7) / 8;
    EXPECT_NEAR(static_cast<double>(kSF4Codes[static_cast<size_t>(i)]), quantile(p) / largest, 1e-7)
        << i;
  }
}

TEST(CodecTest, EveryCodeDecodesToItsDefinitionAndEncodesToItself) {
  for (const Int8Scale scale :
       {Int8Scale{f16_from(-1.5f), f16_from(2.25f)}, Int8Scale{f16_from(-3e-5f), f16_from(1e-6f)},
        Int8Scale{f16_from(-65504.0f), f16_from(65504.0f)}}) {
    const double min = static_cast<double>(f32_from(scale.min));
    const double max = static_cast<double>(f32_from(scale.max));
    for (int q = 0; q < 256; ++q) {
      const double want = min + q / 255.0 * (max - min);
      const float got = decode(scale, static_cast<uint8_t>(q));
      EXPECT_NEAR(static_cast<double>(got), want, (max - min) * 1e-6) << q;
      EXPECT_EQ(encode(scale, got), q);
    }
  }
  for (const DType dtype : {DType::kNF4, DType::kSF4}) {
    for (const float absmax : {1.0f, 0.0123f, 6e-8f, 65504.0f}) {
      const AbsmaxScale scale = {f16_from(absmax)};
      for (uint8_t q = 0; q < 16; ++q) {
        const float value = decode(dtype, scale, q);
        EXPECT_EQ(value, code_table(dtype)[q] * f32_from(scale.absmax));
        EXPECT_EQ(encode(dtype, scale, value), q);
      }
    }
  }
}

TEST(CodecTest, EncodesToTheNearest) {
  std::mt19937 random(20261123);
  std::uniform_real_distribution<float> uniform(-1.1f, 1.1f);
  const Int8Scale int8 = {f16_from(-1.0f), f16_from(0.75f)};
  for (int i = 0; i < 20'000; ++i) {
    const float value = uniform(random);
    const double clamped = std::clamp(static_cast<double>(value), -1.0, 0.75);
    const double error = static_cast<double>(decode(int8, encode(int8, value))) - clamped;
    EXPECT_FALSE(!(std::fabs(error) <= 1.75 / 255 / 2 + 1e-6)) << value;
    for (const DType dtype : {DType::kNF4, DType::kSF4}) {
      const auto distance = [&](float code) {
        return std::fabs(static_cast<double>(value) - static_cast<double>(code));
      };
      const CodeTable& codes = code_table(dtype);
      double best = 10;
      for (const float code : codes) best = std::min(best, distance(code));
      const uint8_t q = encode(dtype, AbsmaxScale{f16_from(1.0f)}, value);
      EXPECT_LE(distance(codes[q]), best + 1e-7) << value;
    }
  }
}

TEST(CodecTest, TiesConstantsAndZeros) {
  // Half-way between codes 0 and 1 of a range of 255.
  const Int8Scale scale = {f16_from(0.0f), f16_from(255.0f)};
  EXPECT_EQ(encode(scale, 0.5f), 1);
  EXPECT_EQ(encode(scale, 1.5f), 2);
  EXPECT_EQ(encode(scale, -9.0f), 0);
  EXPECT_EQ(encode(scale, 300.0f), 255);
  const Int8Scale constant = {f16_from(0.3f), f16_from(0.3f)};
  EXPECT_EQ(encode(constant, 0.3f), 0);
  EXPECT_EQ(decode(constant, 0), f32_from(f16_from(0.3f)));
  const float middle = code_middles(DType::kNF4)[3];
  EXPECT_EQ(encode(DType::kNF4, AbsmaxScale{f16_from(1.0f)}, middle), 3);
  EXPECT_EQ(encode(DType::kNF4, AbsmaxScale{}, 1.0f), kZeroCode4);
  EXPECT_EQ(decode(DType::kSF4, AbsmaxScale{}, kZeroCode4), 0.0f);
}

// The vector code against the definitions, bit for bit.
TEST(QuantKernelsTest, RunsAreTheScalarCodecs) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 1);
  for (const DType dtype : kQuantDTypes) {
    for (const uint64_t cols : {1u, 3u, 17u, 63u, 64u, 65u, 128u, 131u, 300u}) {
      for (const float factor : {1.0f, 0.0f, -0.0f, 1e-6f, 1e-9f, 1e-42f, 9000.0f}) {
        std::vector<float> values(cols);
        for (float& value : values) value = normal(random) * factor;
        if (cols == 131) std::fill(values.begin(), values.end(), 0.3f);
        std::vector<uint8_t> codes(cols);
        std::vector<std::byte> scales(num_blocks(cols, dtype) * scale_bytes(dtype));
        std::vector<float> back(cols);
        ASSERT_EQ(quantize_run(values.data(), cols, dtype, codes.data(), scales.data()), kNoBlock);
        dequantize_run(codes.data(), scales.data(), cols, dtype, back.data());
        for (uint64_t first = 0; first < cols; first += block_cols(dtype)) {
          const uint64_t count = std::min<uint64_t>(block_cols(dtype), cols - first);
          std::array<uint8_t, 256> want;
          std::array<std::byte, 16> scale;
          ASSERT_TRUE(
              encode_block(dtype, {values.data() + first, count}, want.data(), scale.data()));
          ASSERT_EQ(std::memcmp(scales.data() + first / block_cols(dtype) * scale_bytes(dtype),
                                scale.data(), scale_bytes(dtype)),
                    0);
          for (uint32_t i = 0; i < count; ++i) {
            ASSERT_EQ(codes[first + i], want[i]);
            ASSERT_EQ(back[first + i], decode_in_block(dtype, scale.data(), i, want[i]));
          }
        }
      }
    }
  }
}

TEST(QuantKernelsTest, WhatF16CannotHoldIsRefused) {
  for (const float bad : {INFINITY, -INFINITY, NAN, 65520.0f, -1e30f}) {
    for (const DType dtype : kQuantDTypes) {
      for (const uint64_t at : {0u, 5u, 127u, 128u, 199u}) {
        std::vector<float> values(200, 0.5f);
        values[at] = bad;
        std::vector<uint8_t> codes(200);
        std::vector<std::byte> scales(128);
        EXPECT_EQ(quantize_run(values.data(), 200, dtype, codes.data(), scales.data()),
                  at / block_cols(dtype))
            << bad << ' ' << at;
      }
    }
  }
}

}  // namespace
}  // namespace skein
