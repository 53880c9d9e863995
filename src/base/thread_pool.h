// ThreadPool: persistent threads that run one function together and meet again (fork and join), for
// kernels that last tens of microseconds.
//
// Goals: about a microsecond for fork and join while hot; no allocation and no lock after creation;
// threads that idle cost no CPU; more threads than cores work, only slower. Non-goals: task queues,
// work stealing, nesting one run in another of the same pool, CPU quotas of containers.
//
// Memory: what the caller wrote before run() is visible to all threads in it, and what they wrote
// is visible to the caller when it returns. barrier() does the same among the threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/bits.h"
#include "base/result.h"

namespace skein {

// [begin, end).
struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
  constexpr uint64_t length() const noexcept { return end - begin; }
  constexpr bool empty() const noexcept { return begin == end; }
  friend constexpr bool operator==(const Range&, const Range&) = default;
};

// The part of `n` items that `thread` of `num_threads` gets. Laws: the parts are contiguous, in the
// order of the threads, and cover [0, n) once; every begin is a multiple of `grain` or n; the parts
// differ by at most one grain. grain > 0, thread < num_threads.
constexpr Range share_of(uint64_t n, uint64_t grain, uint32_t thread,
                         uint32_t num_threads) noexcept {
  const uint64_t grains = ceil_div(n, grain);
  const uint64_t each = grains / num_threads;
  const uint64_t rest = grains % num_threads;
  const uint64_t begin = each * thread + std::min<uint64_t>(thread, rest);
  const uint64_t end = begin + each + (thread < rest ? 1 : 0);
  return {begin == grains ? n : begin * grain, end == grains ? n : end * grain};
}

// Physical cores that this process may use (its affinity mask, hyper-threads of one core counted
// once); at least 1. The default of -t.
uint32_t num_physical_cores();

class ThreadPool {
 public:
  static constexpr uint32_t kMaxThreads = 1024;

  // Starts num_threads - 1 threads; the caller of run() is thread 0. Up to num_physical_cores()
  // threads, each started one is pinned to a core of its own, all different from the core that
  // calls create(): the scheduler leaves freshly started or woken threads on a shared core for
  // milliseconds, a thousand times the length of a run. The caller is not pinned: its affinity
  // belongs to the program, and children would inherit it. Errors: num_threads is not
  // in 1..kMaxThreads; the system refuses a thread.
  static Result<std::unique_ptr<ThreadPool>> create(uint32_t num_threads);

  // Not while a run is on.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t num_threads() const noexcept { return num_threads_; }

  // Calls f(uint32_t thread) once on each thread and returns when all calls have ended. f must not
  // throw nor call run() of this pool. One run at a time, from any thread.
  template <typename F>
  void run(F&& f) noexcept {
    if (num_threads_ == 1) {
      f(uint32_t{0});
      return;
    }
    using Function = std::remove_reference_t<F>;
    run_job({[](void* context, uint32_t thread) { (*static_cast<Function*>(context))(thread); },
             const_cast<void*>(static_cast<const void*>(std::addressof(f)))});
  }

  // Inside run() only, and then by every thread the same number of times: returns when all have
  // called it. Several stages need one fork this way.
  void barrier() noexcept;

 private:
  struct Job {
    void (*call)(void* context, uint32_t thread) = nullptr;
    void* context = nullptr;
  };

  // Two cache lines, since prefetchers fetch lines in pairs.
  static constexpr size_t kNoSharing = 128;

  // A counter that one thread publishes and others wait for: spinning first, then asleep.
  struct alignas(kNoSharing) WaitWord {
    std::atomic<uint32_t> value{0};
    std::atomic<uint32_t> num_sleepers{0};

    void publish(uint32_t next) noexcept;
    // Waits until the value is `next`. Nobody may publish another one before the waiter has seen
    // it.
    void wait_for(uint32_t next, bool yield) noexcept;
  };

  struct alignas(kNoSharing) Slot {
    WaitWord arrived;    // phases that the thread and its whole subtree have reached
    uint32_t phase = 1;  // the thread's own count; phase 1 is its start
  };

  explicit ThreadPool(uint32_t num_threads);
  void run_job(Job job) noexcept;
  void worker_main(uint32_t thread, uint32_t cpu) noexcept;
  uint32_t arrive(uint32_t thread) noexcept;

  uint32_t num_threads_;
  bool yield_ =
      false;  // more threads than cores: a spinning thread may hold the core that another one needs
  bool stop_ = false;  // written before a release, read after it, as job_
  Job job_;
  WaitWord released_;  // phases that all threads may leave
  std::unique_ptr<Slot[]> slots_;
  std::vector<std::thread> workers_;
};

}  // namespace skein
