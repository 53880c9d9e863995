// pack() against an oracle that moves one element at a time through the mappings' operator() and
// base/float16.h: all pairs of layouts and dtypes, with poison in the source's padding, canaries
// around the destination, misaligned memory and several numbers of threads.
#include "tensor/pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/float16.h"

namespace skein {
namespace {

constexpr std::byte kCanary{0xa5};
constexpr uint64_t kCanaryBytes = 192;

uint64_t bytes_of(DType dtype) { return element_bits(dtype) / 8; }

AnyMapping mapping_of(const std::string& layout, Extents extents, DType dtype) {
  const auto mapping = make_mapping(parse_layout(layout).value(), extents, element_bits(dtype));
  CHECK(mapping.has_value());
  return *mapping;
}

uint32_t load_bits(const std::byte* data, DType dtype) {
  uint32_t u = 0;
  std::memcpy(&u, data, bytes_of(dtype));
  return u;
}

float widen(uint32_t bits, DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return std::bit_cast<float>(bits);
    case DType::kF16:
      return f32_from(F16{static_cast<uint16_t>(bits)});
    case DType::kBF16:
      return f32_from(BF16{static_cast<uint16_t>(bits)});
    default:
      break;
  }
  return 0;
}

uint32_t convert(uint32_t bits, DType from, DType to) {
  if (from == to) return bits;
  const float f = widen(bits, from);
  switch (to) {
    case DType::kF32:
      return std::bit_cast<uint32_t>(f);
    case DType::kF16:
      return f16_from(f).bits;
    case DType::kBF16:
      return bf16_from(f).bits;
    default:
      break;
  }
  return 0;
}

// `shift` bytes off an alignment of 64, canaries on both sides.
class GuardedSpan {
 public:
  GuardedSpan(uint64_t num_bytes, uint64_t shift) : num_bytes_(num_bytes) {
    memory_.resize(2 * kCanaryBytes + 64 + num_bytes, kCanary);
    const uint64_t address = reinterpret_cast<uintptr_t>(memory_.data()) + kCanaryBytes;
    start_ = kCanaryBytes + (round_up<uint64_t>(address, 64) - address) + shift % 64;
  }
  std::byte* data() { return memory_.data() + start_; }
  bool canaries_live() const {
    for (uint64_t i = 0; i < memory_.size(); ++i) {
      const bool inside = i >= start_ && i < start_ + num_bytes_;
      if (!inside && memory_[i] != kCanary) return false;
    }
    return true;
  }

 private:
  uint64_t num_bytes_;
  uint64_t start_;
  std::vector<std::byte> memory_;
};

class PackTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (uint32_t num_threads : {1u, 2u, 3u}) {
      pools_.push_back(ThreadPool::create(num_threads).value());
    }
  }
  static void TearDownTestSuite() { pools_.clear(); }

  // The destination's span as the oracle makes it.
  static std::vector<std::byte> expected(const ConstHostMatrix& src, const AnyMapping& mapping,
                                         DType dtype) {
    std::vector<std::byte> span(mapping.required_span_size() * bytes_of(dtype));
    const Extents extents = mapping.extents();
    for (uint64_t row = 0; row < extents.rows; ++row) {
      for (uint64_t col = 0; col < extents.cols; ++col) {
        const std::byte* from = src.data + src.mapping(row, col) * bytes_of(src.dtype);
        const uint32_t bits = convert(load_bits(from, src.dtype), src.dtype, dtype);
        std::memcpy(span.data() + mapping(row, col) * bytes_of(dtype), &bits, bytes_of(dtype));
      }
    }
    return span;
  }

  static void check(Extents extents, const std::string& from_layout, DType from,
                    const std::string& to_layout, DType to) {
    const AnyMapping src_mapping = mapping_of(from_layout, extents, from);
    const AnyMapping dst_mapping = mapping_of(to_layout, extents, to);
    // Random bits: values of all magnitudes, infinities and NaN in all dtypes, in the padding too.
    // Exactly the span on the heap, so that AddressSanitizer sees a read beyond it.
    const uint64_t shift = random_() % 3;
    std::vector<std::byte> memory(shift + src_mapping.required_span_size() * bytes_of(from));
    for (std::byte& byte : memory) byte = static_cast<std::byte>(random_());
    const ConstHostMatrix src(memory.data() + shift, from, src_mapping);
    const std::vector<std::byte> want = expected(src, dst_mapping, to);
    for (const auto& pool : pools_) {
      // More threads than cores wait for the scheduler; a third of the dtypes is enough for them.
      if (pool->num_threads() > 2 && from != to) continue;
      GuardedSpan span(want.size(), random_());
      pack(src, HostMatrix{span.data(), to, dst_mapping}, *pool);
      const bool equal = std::equal(want.begin(), want.end(), span.data());
      EXPECT_TRUE(equal && span.canaries_live())
          << extents.rows << 'x' << extents.cols << ' ' << from_layout << ' ' << to_string(from)
          << " -> " << to_layout << ' ' << to_string(to) << ", " << pool->num_threads()
          << " threads, " << (equal ? "canary dead" : "bytes differ");
    }
  }

  static inline std::vector<std::unique_ptr<ThreadPool>> pools_;
  static inline std::mt19937 random_{20261123};
};

const std::vector<std::string>& layouts() {
  static const std::vector<std::string> all = {
      "row_major",         "row_major@64B",        "col_major",     "col_major@128B",
      "interleave(4,64)",  "interleave(8,16,1)",   "tile(16,32)",   "interleave(16,32,1)@256B",
      "interleave(4,8,4)", "interleave(3,6,2)@4B", "tile(5,7)",     "interleave(1,8,2)",
      "morton(4)",         "morton(32)@256B",      "tile(70,1)@8B", "interleave(2,96,3)"};
  return all;
}

TEST_F(PackTest, AllPairsOfLayoutsAndDTypes) {
  // Ones, primes, multiples of no block, one piece exactly, more than one piece in both directions.
  constexpr Extents kShapes[] = {{1, 1},   {1, 300}, {211, 1},  {3, 5},
                                 {17, 31}, {64, 64}, {65, 129}, {131, 67}};
  for (const Extents& shape : kShapes) {
    for (const std::string& from_layout : layouts()) {
      for (const std::string& to_layout : layouts()) {
        for (DType from : kDTypes) {
          for (DType to : kDTypes) check(shape, from_layout, from, to_layout, to);
        }
      }
    }
  }
}

TEST_F(PackTest, ShapesOfModels) {
  // A low-rank pair and a square, with more units than threads.
  for (const std::string& to_layout : layouts()) {
    check({64, 768}, "col_major", DType::kBF16, to_layout, DType::kF16);
    check({768, 64}, "col_major", DType::kF16, to_layout, DType::kF16);
    check({320, 320}, "row_major", DType::kF16, to_layout, DType::kF32);
  }
}

TEST_F(PackTest, PackThenUnpackIsTheIdentity) {
  constexpr Extents kShape = {101, 203};
  for (const std::string& layout : layouts()) {
    const AnyMapping rows = mapping_of("row_major", kShape, DType::kF16);
    const AnyMapping packed = mapping_of(layout, kShape, DType::kF16);
    std::vector<std::byte> memory(rows.required_span_size() * 2);
    for (std::byte& byte : memory) byte = static_cast<std::byte>(random_());
    std::vector<std::byte> there(packed.required_span_size() * 2, kCanary);
    std::vector<std::byte> back(memory.size(), kCanary);
    const HostMatrix middle = {there.data(), DType::kF16, packed};
    pack({memory.data(), DType::kF16, rows}, middle, *pools_[1]);
    pack(middle, {back.data(), DType::kF16, rows}, *pools_[1]);
    EXPECT_EQ(back, memory) << layout;
  }
}

TEST(PackDeathTest, UnequalExtentsAreOurBug) {
  const auto pool = ThreadPool::create(1).value();
  std::byte memory[64] = {};
  const AnyMapping a = mapping_of("row_major", {2, 4}, DType::kF32);
  const AnyMapping b = mapping_of("row_major", {4, 2}, DType::kF32);
  EXPECT_DEATH(pack({memory, DType::kF32, a}, {memory + 32, DType::kF32, b}, *pool),
               "check failed: src.mapping.extents");
}

}  // namespace
}  // namespace skein
