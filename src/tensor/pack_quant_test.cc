// pack() to, from and between quantized matrices against an oracle that goes element by element
// through the mappings and the scalar codecs.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tensor/codec.h"
#include "tensor/pack.h"

namespace skein {
namespace {

constexpr std::byte kCanary{0xa5};

AnyMapping mapping_of(const std::string& layout, Extents extents, DType dtype) {
  return make_mapping(parse_layout(layout).value(), extents, element_bits(dtype)).value();
}

// A span with canaries behind it.
struct Matrix {
  Matrix(const std::string& layout, Extents extents, DType dtype_in)
      : dtype(dtype_in),
        mapping(mapping_of(layout, extents, dtype_in)),
        num_bytes(Tensor::span_bytes_of(mapping, dtype_in)),
        bytes(num_bytes + 64, kCanary) {}

  HostMatrix view() { return {bytes.data(), dtype, mapping}; }
  bool canary_lives() const {
    return std::all_of(bytes.begin() + static_cast<ptrdiff_t>(num_bytes), bytes.end(),
                       [](std::byte b) { return b == kCanary; });
  }

  DType dtype;
  AnyMapping mapping;
  uint64_t num_bytes;
  std::vector<std::byte> bytes;
};

void store_code(Matrix& matrix, uint64_t index, uint8_t code) {
  if (element_bits(matrix.dtype) == 8) {
    matrix.bytes[index] = static_cast<std::byte>(code);
    return;
  }
  const unsigned old = static_cast<unsigned>(matrix.bytes[index / 2]);
  const unsigned now = index % 2 == 0 ? (old & 0xf0u) | code : (old & 0x0fu) | code * 16u;
  matrix.bytes[index / 2] = static_cast<std::byte>(now);
}

// The span as the definitions make it; `values` in row order.
Matrix quantized(const std::vector<float>& values, Extents extents, const std::string& layout,
                 DType dtype) {
  Matrix matrix(layout, extents, dtype);
  const uint64_t offset = (matrix.mapping.span_bytes() + 255) / 256 * 256;
  std::fill_n(matrix.bytes.begin(), matrix.num_bytes, std::byte{0});
  std::fill_n(matrix.bytes.begin(), matrix.mapping.span_bytes(),
              element_bits(dtype) == 8 ? std::byte{0}
              : dtype == DType::kQ4_0  ? std::byte{0x88}
              : dtype == DType::kQ4K   ? std::byte{0}
                                       : std::byte{0x77});
  const AnyMapping scales = make_scale_mapping(matrix.mapping, dtype).value();
  const uint64_t block = block_cols(dtype), words = dtype == DType::kQ4K ? 4 : 1;
  for (uint64_t row = 0; row < extents.rows; ++row) {
    for (uint64_t first = 0; first < extents.cols; first += block) {
      const uint64_t count = std::min(block, extents.cols - first);
      std::array<uint8_t, 256> codes;
      std::array<std::byte, 16> scale;
      EXPECT_TRUE(encode_block(dtype, {values.data() + row * extents.cols + first, count},
                               codes.data(), scale.data()));
      const uint64_t word_bytes = scale_bytes(dtype) / words;
      for (uint64_t w = 0; w < words; ++w) {
        std::memcpy(
            matrix.bytes.data() + offset + scales(row, first / block * words + w) * word_bytes,
            scale.data() + w * word_bytes, word_bytes);
      }
      for (uint64_t i = 0; i < count; ++i) {
        store_code(matrix, matrix.mapping(row, first + i), codes[i]);
      }
    }
  }
  return matrix;
}

const std::vector<std::string>& layouts() {
  static const std::vector<std::string> all = {
      "row_major",          "row_major@64B",        "col_major",
      "col_major@128B",     "interleave(16,128,4)", "interleave(16,64,8)",
      "interleave(8,16,1)", "interleave(3,6,2)@4B", "interleave(4,256)",
      "tile(5,7)",          "tile(16,32)",          "morton(4)",
      "morton(5)",          "morton(32)@256B"};
  return all;
}

constexpr Extents kShapes[] = {{1, 1},    {1, 300},  {211, 1},  {3, 5},
                               {17, 131}, {64, 128}, {130, 257}};

class PackQuantTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (uint32_t n : {1u, 3u}) pools_.push_back(ThreadPool::create(n).value());
  }
  static void TearDownTestSuite() { pools_.clear(); }

  static std::vector<float> random_values(Extents extents) {
    std::normal_distribution<float> normal(0, 0.02f);
    std::vector<float> values(extents.num_elems());
    // What f16 holds, so that all plain sources have the same values.
    for (float& value : values) value = f32_from(f16_from(normal(random_)));
    return values;
  }

  static Matrix plain(const std::vector<float>& values, Extents extents, const std::string& layout,
                      DType dtype) {
    Matrix matrix(layout, extents, dtype);
    for (uint64_t i = 0; i < values.size(); ++i) {
      const uint64_t at = matrix.mapping(i / extents.cols, i % extents.cols);
      const F16 f16 = f16_from(values[i]);
      if (dtype == DType::kF32) std::memcpy(matrix.bytes.data() + 4 * at, &values[i], 4);
      if (dtype == DType::kF16) std::memcpy(matrix.bytes.data() + 2 * at, &f16, 2);
    }
    return matrix;
  }

  static inline std::vector<std::unique_ptr<ThreadPool>> pools_;
  static inline std::mt19937 random_{20261123};
};

TEST_F(PackQuantTest, QuantizesFromAnyLayoutToAnyLayout) {
  for (const Extents& extents : kShapes) {
    const std::vector<float> values = random_values(extents);
    for (const DType dtype : kQuantDTypes) {
      for (const std::string& layout : layouts()) {
        const Matrix want = quantized(values, extents, layout, dtype);
        for (const std::string from : {"row_major", "col_major", "interleave(8,16,1)"}) {
          Matrix src =
              plain(values, extents, from, from == "col_major" ? DType::kF32 : DType::kF16);
          for (const auto& pool : pools_) {
            Matrix got(layout, extents, dtype);
            EXPECT_FALSE(pack(src.view(), got.view(), *pool));
            EXPECT_EQ(got.bytes, want.bytes)
                << extents.rows << 'x' << extents.cols << ' ' << from << " -> " << layout << ' '
                << to_string(dtype) << ' ' << pool->num_threads();
          }
        }
      }
    }
  }
}

TEST_F(PackQuantTest, CodesMoveBetweenLayoutsAsTheyAre) {
  for (const Extents& extents : kShapes) {
    const std::vector<float> values = random_values(extents);
    for (const DType dtype : kQuantDTypes) {
      for (const std::string& from : layouts()) {
        Matrix src = quantized(values, extents, from, dtype);
        for (const std::string& to : layouts()) {
          const Matrix want = quantized(values, extents, to, dtype);
          Matrix got(to, extents, dtype);
          EXPECT_FALSE(pack(src.view(), got.view(), *pools_[1]));
          EXPECT_EQ(got.bytes, want.bytes) << extents.rows << 'x' << extents.cols << ' ' << from
                                           << " -> " << to << ' ' << to_string(dtype);
        }
      }
    }
  }
}

TEST_F(PackQuantTest, Dequantizes) {
  for (const Extents& extents : kShapes) {
    const std::vector<float> values = random_values(extents);
    const uint64_t cols = extents.cols;
    for (const DType dtype : kQuantDTypes) {
      for (const std::string& from : layouts()) {
        Matrix src = quantized(values, extents, from, dtype);
        for (const std::string to : {"row_major", "interleave(8,16,1)", "col_major@128B"}) {
          Matrix got(to, extents, DType::kF32);
          pack(src.view(), got.view(), *pools_[1]);
          EXPECT_TRUE(got.canary_lives());
          for (uint64_t first = 0; first < values.size();) {
            const uint64_t row = first / cols, col = first % cols;
            const uint64_t count = std::min<uint64_t>(block_cols(dtype), cols - col);
            std::array<uint8_t, 256> codes;
            std::array<std::byte, 16> scale;
            encode_block(dtype, {values.data() + first, count}, codes.data(), scale.data());
            for (uint32_t i = 0; i < count; ++i) {
              float found;
              std::memcpy(&found, got.bytes.data() + 4 * got.mapping(row, col + i), 4);
              ASSERT_EQ(found, decode_in_block(dtype, scale.data(), i, codes[i]))
                  << from << " -> " << to << ' ' << row << ',' << col + i;
            }
            first += count;
          }
        }
      }
    }
  }
}

TEST_F(PackQuantTest, NamesTheFirstRefusedBlock) {
  constexpr Extents kShape = {200, 700};
  for (const auto& pool : pools_) {
    for (const DType dtype : kQuantDTypes) {
      std::vector<float> values(kShape.num_elems(), 0.25f);
      values[150 * 700 + 3] = INFINITY;
      values[77 * 700 + 650] = NAN;
      values[77 * 700 + 699] = -INFINITY;
      Matrix src = plain(values, kShape, "row_major", DType::kF32);
      Matrix got("interleave(16,128,4)", kShape, dtype);
      const auto refused = pack(src.view(), got.view(), *pool);
      ASSERT_TRUE(refused);
      EXPECT_EQ(refused->row, 77u);
      EXPECT_EQ(refused->first_col, 650 / block_cols(dtype) * block_cols(dtype));
      EXPECT_TRUE(got.canary_lives());
    }
  }
}

}  // namespace
}  // namespace skein
