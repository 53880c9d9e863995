// pack() beside memcpy: GB/s of bytes read plus bytes written, source and destination of 128 MiB
// and more, memory touched before. Read each figure as a share of the memcpy line of the same run
// and the same number of threads.
#include <benchmark/benchmark.h>

#include <cstring>
#include <memory>
#include <string>

#include "base/check.h"
#include "base/thread_pool.h"
#include "tensor/buffer.h"
#include "tensor/pack.h"

namespace skein {
namespace {

// A matrix of 8192 x 8192 is the square of a 13B model; 128 MiB of f16 are beyond every cache.
constexpr Extents kExtents = {8192, 8192};

Tensor make_tensor(const std::string& layout, DType dtype) {
  const AnyMapping mapping =
      make_mapping(parse_layout(layout).value(), kExtents, element_bits(dtype)).value();
  return Tensor(allocate_host_buffer(mapping.span_bytes()).value(), 0, dtype, mapping);
}

void set_rate(benchmark::State& state, uint64_t bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(bytes) * state.iterations());
}

void bench_memcpy(benchmark::State& state, uint32_t num_threads) {
  const auto pool = ThreadPool::create(num_threads).value();
  const Tensor src = make_tensor("row_major", DType::kF16);
  const Tensor dst = make_tensor("row_major", DType::kF16);
  std::memset(src.host_data(), 1, src.span_bytes());
  std::memset(dst.host_data(), 2, dst.span_bytes());
  for (auto _ : state) {
    pool->run([&](uint32_t thread) {
      const Range share = share_of(src.span_bytes(), 4096, thread, num_threads);
      std::memcpy(dst.host_data() + share.begin, src.host_data() + share.begin, share.length());
    });
  }
  set_rate(state, src.span_bytes() + dst.span_bytes());
}

struct Case {
  const char* from_layout;
  DType from;
  const char* to_layout;
  DType to;
};

void bench_pack(benchmark::State& state, const Case& c, uint32_t num_threads) {
  const auto pool = ThreadPool::create(num_threads).value();
  const Tensor src = make_tensor(c.from_layout, c.from);
  const Tensor dst = make_tensor(c.to_layout, c.to);
  std::memset(src.host_data(), 1, src.span_bytes());
  std::memset(dst.host_data(), 2, dst.span_bytes());
  for (auto _ : state) pack(host_matrix(src), host_matrix(dst), *pool);
  set_rate(state, src.span_bytes() + dst.span_bytes());
}

constexpr Case kCases[] = {
    {"row_major", DType::kF16, "row_major", DType::kF16},
    {"row_major", DType::kF16, "col_major", DType::kF16},
    {"col_major", DType::kF16, "row_major", DType::kF16},
    {"row_major", DType::kF16, "interleave(4,64)", DType::kF16},
    {"row_major", DType::kF16, "interleave(4,64,1)", DType::kF16},
    {"row_major", DType::kF16, "interleave(8,64,1)", DType::kF16},
    {"row_major", DType::kF16, "interleave(16,64,1)", DType::kF16},
    {"row_major", DType::kF16, "interleave(32,64,1)@256B", DType::kF16},
    {"row_major", DType::kF16, "interleave(16,64,2)", DType::kF16},
    {"row_major", DType::kF16, "interleave(8,64,4)", DType::kF16},
    {"row_major", DType::kF16, "tile(16,32)", DType::kF16},
    {"row_major", DType::kF16, "morton(32)", DType::kF16},
    {"col_major", DType::kF16, "interleave(16,64,1)", DType::kF16},
    {"interleave(16,64,1)", DType::kF16, "row_major", DType::kF16},
    {"row_major", DType::kBF16, "row_major", DType::kF16},
    {"row_major", DType::kF16, "row_major", DType::kF32},
    {"row_major", DType::kBF16, "row_major", DType::kF32},
    {"row_major", DType::kF32, "row_major", DType::kF16},
    {"row_major", DType::kBF16, "interleave(16,64,1)", DType::kF16},
    {"row_major", DType::kBF16, "interleave(16,64,1)", DType::kF32},
    {"row_major", DType::kF32, "col_major", DType::kF32},
};

[[maybe_unused]] const bool kRegistered = [] {
  for (uint32_t num_threads : {1u, num_physical_cores()}) {
    const std::string threads = "/threads:" + std::to_string(num_threads);
    benchmark::RegisterBenchmark(("memcpy" + threads).c_str(), bench_memcpy, num_threads)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
    for (const Case& c : kCases) {
      const std::string name = std::string("pack/") + c.from_layout + ":" +
                               std::string(to_string(c.from)) + "/" + c.to_layout + ":" +
                               std::string(to_string(c.to)) + threads;
      benchmark::RegisterBenchmark(name.c_str(), bench_pack, c, num_threads)
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
    if (num_physical_cores() == 1) break;
  }
  return true;
}();

}  // namespace
}  // namespace skein
