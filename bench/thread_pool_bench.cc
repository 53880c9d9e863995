// What fork and join cost: hot (the threads still spin), after a pause (they sleep), and a barrier.
#include <benchmark/benchmark.h>

#include <chrono>
#include <thread>

#include "base/thread_pool.h"

namespace skein {
namespace {

void bench_run(benchmark::State& state) {
  const auto pool = ThreadPool::create(static_cast<uint32_t>(state.range(0))).value();
  for (auto _ : state) pool->run([](uint32_t) {});
}

void bench_barrier(benchmark::State& state) {
  const auto pool = ThreadPool::create(static_cast<uint32_t>(state.range(0))).value();
  constexpr int kBarriers = 1000;
  for (auto _ : state) {
    pool->run([&](uint32_t) {
      for (int i = 0; i < kBarriers; ++i) pool->barrier();
    });
  }
  state.SetItemsProcessed(state.iterations() * kBarriers);
}

// The caller is away for range(1) µs between two runs; the time is the run's alone.
void bench_run_after_pause(benchmark::State& state) {
  const auto pool = ThreadPool::create(static_cast<uint32_t>(state.range(0))).value();
  const auto pause = std::chrono::microseconds(state.range(1));
  using Clock = std::chrono::steady_clock;
  for (auto _ : state) {
    for (const auto start = Clock::now(); Clock::now() - start < pause;) {
    }
    const auto start = Clock::now();
    pool->run([](uint32_t) {});
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
  }
}

void thread_counts(benchmark::internal::Benchmark* bench) {
  const int64_t num_cores = num_physical_cores();
  for (int64_t n = 1; n < num_cores; n *= 2) bench->Arg(n);
  bench->Arg(num_cores)->Arg(2 * num_cores);
}

BENCHMARK(bench_run)->Apply(thread_counts)->UseRealTime();
BENCHMARK(bench_barrier)->Apply(thread_counts)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(bench_run_after_pause)
    ->ArgsProduct({{num_physical_cores()}, {0, 10, 50, 90, 150, 500, 5000}})
    ->UseManualTime();

}  // namespace
}  // namespace skein
