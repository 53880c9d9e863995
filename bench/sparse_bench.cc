// sparse(): the ffn value of a model, [C][4C] in `col_major`; density, tokens and threads as axes.
// GB/s count the columns that one token reads, or all of them for many tokens; of quantized types
// also the scales of the blocks that those lie in.
#include "backend/cpu/sparse.h"

#include <fmt/format.h>

#include <algorithm>

#include "matmul_bench.h"

namespace skein {
namespace {

struct Case {
  uint64_t rows, cols;
  DType dtype;
  int per_cent;
  uint32_t num_tokens;
  uint32_t num_threads;
  Precision precision;
};

// Bytes of weights that x makes sparse() read.
double bytes_of(const Case& c, const std::vector<float>& x) {
  const uint64_t block = block_cols(c.dtype);
  uint64_t num_cols = c.cols, blocks = num_blocks(c.cols, c.dtype);
  if (c.num_tokens == 1) {
    num_cols = blocks = 0;
    for (uint64_t begin = 0; begin < c.cols; begin += block) {
      const auto first = x.begin() + static_cast<ptrdiff_t>(begin);
      const auto end = x.begin() + static_cast<ptrdiff_t>(std::min(begin + block, c.cols));
      const auto count = static_cast<uint64_t>(
          std::count_if(first, end, [](float value) { return value != 0.0f; }));
      num_cols += count;
      blocks += count != 0;
    }
  }
  return static_cast<double>(c.rows) * (static_cast<double>(num_cols * element_bits(c.dtype)) / 8 +
                                        static_cast<double>(blocks * scale_bytes(c.dtype)));
}

void run(benchmark::State& state, const Case& c) {
  ThreadPool& pool = pool_of(c.num_threads);
  SparseScratch scratch =
      SparseScratch::create(c.num_threads, c.num_tokens, c.rows, c.cols).value();
  MatrixPool weights(c.dtype, "col_major", c.rows, c.cols);
  const std::vector<float> x = random_rows(c.num_tokens, c.cols, c.per_cent / 100.0);
  const auto non_zeros =
      static_cast<double>(x.size() - static_cast<size_t>(std::count(x.begin(), x.end(), 0.0f)));
  std::vector<float> y(c.num_tokens * c.rows);
  Rates rates(state, pool);
  for (auto _ : state) {
    rates.time([&] {
      sparse(weights.next(), x.data(), c.cols, y.data(), c.rows, c.num_tokens, c.precision, pool,
             scratch);
    });
    benchmark::DoNotOptimize(y.data());
  }
  rates.report(bytes_of(c, x), 2 * non_zeros * static_cast<double>(c.rows));
}

void add(const Case& c) {
  const std::string name = fmt::format(
      "{}x{}/{}/density:{}%/T:{}/{}/threads:{}", c.rows, c.cols, to_string(c.dtype), c.per_cent,
      c.num_tokens, c.precision == Precision::kFast ? "fast" : "exact", c.num_threads);
  benchmark::RegisterBenchmark(name.c_str(), [c](benchmark::State& state) { run(state, c); })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

[[maybe_unused]] const bool registered = [] {
  CHECK(select_default_cpu_target().has_value());
  const uint32_t all = num_physical_cores();
  std::vector<uint32_t> threads = {1};
  for (uint32_t n = 2; n <= all; n *= 2) threads.push_back(n);
  for (const uint64_t rows : {1024u, 2048u}) {
    for (const DType dtype : kAllDTypes) {
      for (const int per_cent : {5, 10, 20, 30, 50, 100}) {
        for (const uint32_t num_tokens : {1u, 8u, 32u, 128u, 512u}) {
          for (const uint32_t n : threads) {
            add({rows, 4 * rows, dtype, per_cent, num_tokens, n, Precision::kExact});
            if (num_tokens > 8) {
              add({rows, 4 * rows, dtype, per_cent, num_tokens, n, Precision::kFast});
            }
          }
        }
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace skein
