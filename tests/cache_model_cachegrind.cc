// Three walks over a matrix, for cache_model_cachegrind_test.py: done in memory, where cachegrind
// counts them, or replayed through CacheModel at the same addresses.
//
// Usage: cache_model_cachegrind WALK touch|model L1_BYTES L1_WAYS LL_BYTES LL_WAYS
//   WALK   none | rows | cols | tile: each twice over 192 x 160 floats, rows of 164 floats
//   touch  walks through memory and prints nothing
//   model  replays the walk and prints "L1_MISSES LL_MISSES"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "plan/cache_model.h"

namespace {

constexpr uint64_t kRows = 192, kCols = 160;
// Not a power of two, so that cols spread over the sets.
constexpr uint64_t kStride = 164;
constexpr uint64_t kBlock = 16;
constexpr int kPasses = 2;

// Page-aligned, so that its sets are known without asking where it lies: both caches have at most a
// page's worth of sets a way.
alignas(4096) float matrix[kRows * kStride];

template <class F>
void walk(std::string_view name, F&& f) {
  for (int pass = 0; pass < kPasses; ++pass) {
    if (name == "rows") {
      for (uint64_t r = 0; r < kRows; ++r) {
        for (uint64_t c = 0; c < kCols; ++c) f(r * kStride + c);
      }
    } else if (name == "cols") {
      for (uint64_t c = 0; c < kCols; ++c) {
        for (uint64_t r = 0; r < kRows; ++r) f(r * kStride + c);
      }
    } else if (name == "tile") {
      // Cols inside a block, so that only the blocking makes lines come back soon.
      for (uint64_t r = 0; r < kRows; r += kBlock) {
        for (uint64_t c = 0; c < kCols; ++c) {
          for (uint64_t i = r; i < r + kBlock; ++i) f(i * kStride + c);
        }
      }
    }
  }
}

uint64_t number(const char* text) { return std::strtoull(text, nullptr, 10); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fputs("usage: cache_model_cachegrind WALK touch|model L1_BYTES L1_WAYS LL_BYTES LL_WAYS\n",
               stderr);
    return 2;
  }
  const std::string_view name = argv[1];
  if (std::string_view(argv[2]) == "touch") {
    // volatile: the compiler must do each load, in this order, and may do no other.
    const volatile float* const data = matrix;
    float sum = 0;
    walk(name, [&](uint64_t at) { sum += data[at]; });
    return sum == 0 ? 0 : 1;
  }
  const auto level = [&](const char* level_name, int at) {
    return skein::CacheLevel{level_name, number(argv[at]),
                             static_cast<uint32_t>(number(argv[at + 1]))};
  };
  auto model = skein::CacheModel::create({64, {level("L1d", 3), level("LL", 5)}});
  if (!model) {
    std::fprintf(stderr, "%s\n", model.error().message.c_str());
    return 1;
  }
  walk(name, [&](uint64_t at) { model->access(at * sizeof(float), sizeof(float)); });
  std::printf("%llu %llu\n", static_cast<unsigned long long>(model->counts()[0].misses()),
              static_cast<unsigned long long>(model->counts()[1].misses()));
  return 0;
}
