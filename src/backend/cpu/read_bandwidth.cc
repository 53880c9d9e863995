#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/read_bandwidth.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <vector>

#include "backend/cpu/read_bandwidth.h"
#include "base/thread_pool.h"
#include "tensor/buffer.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// A sum of all words, so that no read can be left out. num_bytes is a multiple of 512.
uint32_t sum_words(const std::byte* data, uint64_t num_bytes) {
  const hn::CappedTag<uint32_t, 16> d;
  constexpr uint64_t kLanes = hn::MaxLanes(d);
  const uint32_t* words = reinterpret_cast<const uint32_t*>(data);
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d), sum2 = hn::Zero(d), sum3 = hn::Zero(d);
  for (uint64_t i = 0; i < num_bytes / 4; i += 4 * kLanes) {
    // As the kernels do: the hardware's own streams stop at each 4 KiB.
    for (uint64_t ahead = 0; ahead < 4 * kLanes; ahead += 16) {
      __builtin_prefetch(words + i + 512 + ahead, 0, 3);
    }
    sum0 = hn::Add(sum0, hn::LoadU(d, words + i));
    sum1 = hn::Add(sum1, hn::LoadU(d, words + i + kLanes));
    sum2 = hn::Add(sum2, hn::LoadU(d, words + i + 2 * kLanes));
    sum3 = hn::Add(sum3, hn::LoadU(d, words + i + 3 * kLanes));
  }
  const auto sum = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
  // By hand: g++ reduces the lanes as signed integers, whose overflow is undefined.
  HWY_ALIGN uint32_t lanes[kLanes];
  hn::Store(sum, d, lanes);
  uint32_t total = 0;
  for (const uint32_t lane : lanes) total += lane;
  return total;
}

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(sum_words);

constexpr uint64_t kReadBytes = uint64_t{512} << 20;
constexpr size_t kNumReads = 9;

}  // namespace

Result<double> measure_read_bandwidth(ThreadPool& pool) {
  SKEIN_ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> buffer, allocate_host_buffer(kReadBytes));
  std::byte* data = buffer->host_data();
  const auto share = [&](uint32_t thread) {
    return share_of(kReadBytes, 4096, thread, pool.num_threads());
  };
  // Untouched pages are all the same page of zeros, which the caches would hold.
  pool.run([&](uint32_t thread) {
    const Range range = share(thread);
    std::memset(data + range.begin, 1, range.length());
  });
  std::array<double, kNumReads> seconds;
  std::vector<uint32_t> sums(pool.num_threads() * size_t{16});
  for (double& s : seconds) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](uint32_t thread) {
      const Range range = share(thread);
      sums[thread * size_t{16}] +=
          HWY_DYNAMIC_DISPATCH(sum_words)(data + range.begin, range.length());
    });
    s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  std::nth_element(seconds.begin(), seconds.begin() + kNumReads / 2, seconds.end());
  const double median = seconds[kNumReads / 2];
  // A use of the sums that the compiler cannot see through: it keeps the reads.
  if (sums[0] == 1)
    return error("read bandwidth: expected a sum of whole pages, found {}", sums[0]);
  return static_cast<double>(kReadBytes) / median;
}

}  // namespace skein
#endif  // HWY_ONCE
