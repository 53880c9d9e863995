// What dense_bench and sparse_bench share: a pool of matrices that no cache holds, threads, the
// roof.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/cpu_target.h"
#include "backend/cpu/read_bandwidth.h"
#include "base/check.h"
#include "base/thread_pool.h"
#include "layout/any_mapping.h"
#include "tensor/tensor.h"

namespace skein {

// Copies of one matrix, together at least `min_bytes`, read in turn: each read comes from memory.
class MatrixPool {
 public:
  MatrixPool(DType dtype, const std::string& layout, uint64_t rows, uint64_t cols,
             uint64_t min_bytes = uint64_t{384} << 20) {
    const AnyMapping mapping =
        make_mapping(parse_layout(layout).value(), {rows, cols}, element_bits(dtype)).value();
    const uint64_t stride = round_up(Tensor::span_bytes_of(mapping, dtype), uint64_t{256});
    const uint64_t count = ceil_div(min_bytes, stride);
    auto buffer = allocate_host_buffer(count * stride).value();
    std::memset(buffer->host_data(), 0x2c,
                buffer->num_bytes());  // small normal numbers in each dtype
    for (uint64_t i = 0; i < count; ++i) tensors_.emplace_back(buffer, i * stride, dtype, mapping);
  }

  const Tensor& next() { return tensors_[next_++ % tensors_.size()]; }

 private:
  std::vector<Tensor> tensors_;
  size_t next_ = 0;
};

inline ThreadPool& pool_of(uint32_t num_threads) {
  static std::vector<std::unique_ptr<ThreadPool>> pools(ThreadPool::kMaxThreads + 1);
  if (pools[num_threads] == nullptr) pools[num_threads] = ThreadPool::create(num_threads).value();
  return *pools[num_threads];
}

// [num_rows][num_cols] floats of which `density` are not zero.
inline std::vector<float> random_rows(uint64_t num_rows, uint64_t num_cols, double density) {
  std::mt19937 rng(20261123);
  std::uniform_real_distribution<float> uniform(0.5f, 1.0f);
  std::bernoulli_distribution is_set(density);
  std::vector<float> rows(num_rows * num_cols);
  for (float& x : rows) x = is_set(rng) ? uniform(rng) : 0.0f;
  return rows;
}

// Times each iteration and reports the fastest: GB/s of `bytes`, the same as a share of the
// bandwidth measured just before and after, and GFLOP/s of `flops`. The mean, which Google
// Benchmark prints, is of little use where other programs share the cores.
class Rates {
 public:
  Rates(benchmark::State& state, ThreadPool& pool)
      : state_(state), pool_(pool), before_(measure_read_bandwidth(pool).value()) {}

  template <class F>
  void time(F&& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best_seconds_ = std::min(best_seconds_, seconds.count());
  }

  void report(double bytes, double flops) {
    const double bandwidth = std::max(before_, measure_read_bandwidth(pool_).value());
    state_.counters["best_us"] = best_seconds_ * 1e6;
    state_.counters["GB/s"] = bytes / best_seconds_ * 1e-9;
    state_.counters["of_read"] = bytes / best_seconds_ / bandwidth;
    state_.counters["GFLOP/s"] = flops / best_seconds_ * 1e-9;
    state_.counters["read_GB/s"] = bandwidth * 1e-9;
    state_.SetLabel(std::string(cpu_target_name()));
  }

 private:
  benchmark::State& state_;
  ThreadPool& pool_;
  double before_;
  double best_seconds_ = 1e9;
};

}  // namespace skein
