// dense(): layouts, dtypes, tokens and threads as axes. GB/s count the weights' bytes once.
//
//   dense_bench --benchmark_filter='2048x2048/f16/.*/T:1/'   decode
//   dense_bench --benchmark_filter='8192x2048/(int8|nf4)/interleave.16,(128,4|64,8).*/T:1/'
//   SKEIN_CPU=avx2 dense_bench                               another target
#include "backend/cpu/dense.h"

#include <fmt/format.h>

#include "backend/cpu/matmul_kernels.h"
#include "matmul_bench.h"

namespace skein {
namespace {

struct Case {
  uint64_t rows, cols;
  DType dtype;
  std::string layout;
  uint32_t num_tokens;
  uint32_t num_threads;
  Precision precision;
};

void run(benchmark::State& state, const Case& c) {
  ThreadPool& pool = pool_of(c.num_threads);
  DenseScratch scratch = DenseScratch::create(c.num_threads).value();
  MatrixPool weights(c.dtype, c.layout, c.rows, c.cols);
  const std::vector<float> x = random_rows(c.num_tokens, c.cols, 1.0);
  std::vector<float> y(c.num_tokens * c.rows);
  Rates rates(state, pool);
  for (auto _ : state) {
    const DenseJob job{&weights.next(), x.data(), c.cols, y.data(), c.rows};
    rates.time([&] { dense({&job, 1}, c.num_tokens, c.precision, pool, scratch); });
    benchmark::DoNotOptimize(y.data());
  }
  const double elems = static_cast<double>(c.rows * c.cols);
  const double scales =
      is_quantized(c.dtype)
          ? static_cast<double>(c.rows * num_blocks(c.cols, c.dtype)) * scale_bytes(c.dtype)
          : 0.0;
  rates.report(elems * element_bits(c.dtype) / 8 + scales, 2 * elems * c.num_tokens);
}

// What has a kernel of these; for quantized dtypes their own default too.
std::vector<std::string> layouts_of(DType dtype) {
  std::vector<std::string> layouts;
  for (const char* layout : {"interleave(16,128,4)",
                             "interleave(16,64,8)",
                             "interleave(16,64,1)",
                             "row_major",
                             "col_major",
                             "interleave(8,64,1)",
                             "interleave(4,64,1)",
                             "interleave(16,64,4)",
                             "interleave(8,64,4)",
                             "interleave(4,64,4)",
                             "interleave(8,64,8)",
                             "interleave(4,64,8)",
                             "interleave(4,64)",
                             "interleave(8,64)",
                             "interleave(16,64)",
                             "tile(16,32)",
                             "tile(16,64)",
                             "tile(64,64)",
                             "morton(8)",
                             "morton(16)",
                             "morton(32)",
                             "morton(64)"}) {
    if (find_kernel(cpu_kernels(), MatrixOp::kDense, dtype, parse_layout(layout).value())) {
      layouts.emplace_back(layout);
    }
  }
  return layouts;
}

void add(const Case& c) {
  const std::string name =
      fmt::format("{}x{}/{}/{}/T:{}/{}/threads:{}", c.rows, c.cols, to_string(c.dtype), c.layout,
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
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {
      {1024, 1024}, {2048, 2048}, {8192, 2048}, {65536, 2048}};
  for (const auto& [rows, cols] : kShapes) {
    for (const DType dtype : kAllDTypes) {
      for (const std::string& layout : layouts_of(dtype)) {
        for (const uint32_t num_tokens : {1u, 2u, 4u, 8u, 16u, 32u, 128u, 512u}) {
          if (rows > 8192 && num_tokens > 1) continue;
          for (const uint32_t n : threads) {
            add({rows, cols, dtype, layout, num_tokens, n, Precision::kExact});
            if (is_quantized(dtype) || num_tokens > 8) {
              add({rows, cols, dtype, layout, num_tokens, n, Precision::kFast});
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
