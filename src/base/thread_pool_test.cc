#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <numeric>
#include <set>

#include "base/check.h"

namespace skein {
namespace {

std::unique_ptr<ThreadPool> make_pool(uint32_t num_threads) {
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(num_threads);
  CHECK(pool.has_value());
  return *std::move(pool);
}

constexpr bool shares_cover(uint64_t n, uint64_t grain, uint32_t num_threads) {
  uint64_t end = 0;
  uint64_t smallest = ~uint64_t{0};
  uint64_t largest = 0;
  for (uint32_t thread = 0; thread < num_threads; ++thread) {
    const Range share = share_of(n, grain, thread, num_threads);
    if (share.begin != end || share.end < share.begin || share.end > n) return false;
    if (share.begin % grain != 0 && share.begin != n) return false;
    end = share.end;
    const uint64_t grains = ceil_div(share.length(), grain);
    smallest = std::min(smallest, grains);
    largest = std::max(largest, grains);
  }
  return end == n && largest - smallest <= 1;
}

static_assert(share_of(10, 4, 0, 2) == Range{0, 8} && share_of(10, 4, 1, 2) == Range{8, 10});

TEST(ShareOfTest, CoversContiguouslyInBalancedMultiplesOfTheGrain) {
  for (uint64_t n : {0u, 1u, 2u, 7u, 63u, 64u, 65u, 1000u, 1021u}) {
    for (uint64_t grain : {1u, 2u, 3u, 16u, 64u, 5000u}) {
      for (uint32_t num_threads : {1u, 2u, 3u, 7u, 16u, 1024u}) {
        EXPECT_TRUE(shares_cover(n, grain, num_threads)) << n << ' ' << grain << ' ' << num_threads;
      }
    }
  }
}

TEST(ShareOfTest, DoesNotOverflow) {
  constexpr uint64_t kMost = ~uint64_t{0};
  EXPECT_TRUE(shares_cover(kMost, 1, 3));
  EXPECT_TRUE(shares_cover(kMost, 64, 1024));
  EXPECT_TRUE(shares_cover(kMost, kMost - 1, 2));
}

TEST(ThreadPoolTest, RefusesNumbersOutsideItsBounds) {
  for (uint32_t num_threads : {0u, ThreadPool::kMaxThreads + 1, ~0u}) {
    const auto pool = ThreadPool::create(num_threads);
    ASSERT_FALSE(pool.has_value());
    EXPECT_EQ(pool.error().message,
              fmt::format("threads: expected 1 to 1024, found {}", num_threads));
  }
}

class ThreadPoolSizes : public testing::TestWithParam<uint32_t> {};

// 2 has a thread a core nearly everywhere; 33 is a tree of three levels and more threads than most
// machines have cores.
INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolSizes, testing::Values(1, 2, 3, 5, 6, 33));

TEST_P(ThreadPoolSizes, RunsOnceOnEachThread) {
  const auto pool = make_pool(GetParam());
  EXPECT_EQ(pool->num_threads(), GetParam());
  std::vector<int> calls(GetParam());
  std::vector<std::thread::id> ids(GetParam());
  for (int repeat = 0; repeat < 100; ++repeat) {
    pool->run([&](uint32_t thread) {
      ++calls[thread];
      ids[thread] = std::this_thread::get_id();
    });
  }
  EXPECT_EQ(calls, std::vector<int>(GetParam(), 100));
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_EQ(std::set<std::thread::id>(ids.begin(), ids.end()).size(), GetParam());
}

// Plain variables, so that a missing order between caller and threads is a data race for
// ThreadSanitizer.
TEST_P(ThreadPoolSizes, ManyShortRunsSeeEachOthersMemory) {
  const uint32_t num_threads = GetParam();
  const auto pool = make_pool(num_threads);
  const uint64_t num_runs = num_threads <= num_physical_cores() ? 100'000 : 2'000;
  std::vector<uint64_t> counts(num_threads);
  uint64_t turn = 0;
  bool as_expected = true;
  for (turn = 0; turn < num_runs; ++turn) {
    pool->run([&](uint32_t thread) { counts[thread] += turn; });
    for (uint64_t count : counts) as_expected &= count == turn * (turn + 1) / 2;
  }
  EXPECT_TRUE(as_expected);
}

// Each thread adds up what its neighbour wrote in the stage before.
TEST_P(ThreadPoolSizes, BarrierSeparatesStages) {
  const uint32_t num_threads = GetParam();
  const auto pool = make_pool(num_threads);
  constexpr uint64_t kStages = 20;
  const int num_runs = num_threads <= num_physical_cores() ? 2'000 : 50;
  for (int repeat = 0; repeat < num_runs; ++repeat) {
    std::vector<uint64_t> values(num_threads);
    std::iota(values.begin(), values.end(), 0);
    pool->run([&](uint32_t thread) {
      for (uint64_t stage = 0; stage < kStages; ++stage) {
        const uint64_t next = values[(thread + 1) % num_threads];
        pool->barrier();
        values[thread] = next + 1;
        pool->barrier();
      }
    });
    for (uint64_t i = 0; i < num_threads; ++i) {
      ASSERT_EQ(values[i], (i + kStages) % num_threads + kStages);
    }
  }
}

TEST_P(ThreadPoolSizes, WakesSleepersInRunAndBarrier) {
  const auto pool = make_pool(GetParam());
  // Longer than any spinning: once all others wait for one thread, once all threads wait for the
  // caller.
  const auto nap = [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); };
  for (uint32_t slow = 0; slow < std::min(GetParam(), 6u); ++slow) {
    std::atomic<uint32_t> num_calls{0};
    pool->run([&](uint32_t thread) {
      if (thread == slow) nap();
      pool->barrier();
      if (thread == slow) nap();
      num_calls.fetch_add(1);
    });
    EXPECT_EQ(num_calls.load(), GetParam());
    nap();
  }
}

TEST(ThreadPoolTest, AWorkerMayRunAnotherPool) {
  const auto outer = make_pool(3);
  const auto inner = make_pool(2);
  std::vector<int> calls(2);
  bool outer_is_right = true;
  outer->run([&](uint32_t thread) {
    if (thread == 2) {
      inner->run([&](uint32_t inner_thread) {
        inner->barrier();
        ++calls[inner_thread];
      });
    }
    outer->barrier();
    if (thread == 1) outer_is_right = calls == std::vector<int>{1, 1};
  });
  EXPECT_TRUE(outer_is_right);
}

TEST(ThreadPoolTest, AcceptsConstAndMoveOnlyFunctions) {
  const auto pool = make_pool(2);
  std::vector<int> calls(2);
  const auto function = [&calls](uint32_t thread) { ++calls[thread]; };
  pool->run(function);
  pool->run([&calls, one = std::make_unique<int>(1)](uint32_t thread) { calls[thread] += *one; });
  EXPECT_EQ(calls, (std::vector<int>{2, 2}));
}

TEST(ThreadPoolTest, IdleThreadsCostNoCpu) {
  const auto pool = make_pool(4);
  pool->run([](uint32_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // past the spinning
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const double busy_s = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(busy_s, 0.05);
}

TEST(ThreadPoolTest, PinsWorkersToDifferentCores) {
  const uint32_t num_threads = num_physical_cores();
  if (num_threads < 2) GTEST_SKIP() << "one core";
  const auto pool = make_pool(num_threads);
  std::vector<cpu_set_t> masks(num_threads);
  pool->run([&](uint32_t thread) { sched_getaffinity(0, sizeof(cpu_set_t), &masks[thread]); });
  std::set<size_t> cpus;
  for (uint32_t thread = 1; thread < num_threads; ++thread) {
    EXPECT_EQ(CPU_COUNT(&masks[thread]), 1);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &masks[thread])) cpus.insert(cpu);
    }
  }
  EXPECT_EQ(cpus.size(), num_threads - 1);
  EXPECT_GE(CPU_COUNT(&masks[0]), static_cast<int>(num_threads));  // the caller stays free
}

TEST(ThreadPoolTest, LeavesTheCallersSetOfCores) {
  // In a thread of its own, whose affinity nobody else needs.
  std::thread([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<size_t>(sched_getcpu()), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(num_physical_cores(), 1u);
    const auto pool = make_pool(2);
    int calls[2] = {};
    pool->run([&](uint32_t thread) { ++calls[thread]; });
    EXPECT_EQ(calls[0] + calls[1], 2);
  }).join();
}

#if !SKEIN_DCHECK_IS_ON  // sanitizers reserve more address space than the limit leaves
TEST(ThreadPoolTest, SaysWhenTheSystemRefusesAThread) {
  const auto create_in_little_memory = [] {
    // Room for some stacks of 8 MiB beside what the process has, not for 1023.
    std::FILE* statm = std::fopen("/proc/self/statm", "re");
    unsigned long pages = 0;
    if (statm == nullptr || std::fscanf(statm, "%lu", &pages) != 1) std::_Exit(2);
    const rlim_t limit = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{1} << 28);
    const rlimit memory = {limit, limit};
    if (setrlimit(RLIMIT_AS, &memory) != 0) std::_Exit(3);
    const auto pool = ThreadPool::create(ThreadPool::kMaxThreads);
    if (pool.has_value()) std::_Exit(4);
    std::fputs(pool.error().message.c_str(), stderr);
    std::_Exit(0);
  };
  EXPECT_EXIT(create_in_little_memory(), testing::ExitedWithCode(0),
              "threads: expected to start 1024, the system refused number [0-9]+: ");
}
#endif

}  // namespace
}  // namespace skein
