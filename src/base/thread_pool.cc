// The pool is one barrier that all threads pass again and again. Between runs the workers have
// arrived and wait for its release; starting a run is releasing them, and joining it is their next
// arrival. barrier() is an arrival and a release inside a run.
//
// Arrivals climb a tree of flags, four children a node, so that 100 threads do not queue for one
// counter; the release is one word that everybody reads. The parent of thread i is (i - 1) / 4;
// thread 0, the caller of run(), is the root.
#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include "base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace skein {
namespace {

constexpr uint32_t kNumChildren = 4;

// Spinning as long as a sleep and a wake-up cost is at most twice as bad as knowing the future. One
// run after a pause, 16 threads on a 16-core Xeon VM, 2026-11-23: 1 to 3 µs while they spin, 21 µs
// soon after they fell asleep, 130 to 270 µs later. The serial gaps of decoding (sampling,
// printing) take up to about 100 µs, which is worth covering.
constexpr std::chrono::nanoseconds kSpinTime = std::chrono::microseconds(100);

// Reading the clock costs about as much as a pause, so it is read once in this many.
constexpr int kPausesPerClockRead = 32;

constexpr uint32_t kNotPinned = ~uint32_t{0};

// Which thread of its pool this thread is, for barrier(), which has no argument that says so.
thread_local uint32_t current_thread = 0;

void pause_cpu() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile(
      "isb" ::
          : "memory");  // `yield` takes no time on most cores; isb about as long as an x86 pause
#endif
}

// One number of sysfs for all hyper-threads of the core, different for different cores; `cpu`
// itself where the system does not say.
uint32_t core_of(uint32_t cpu) {
  const std::string path =
      fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu);
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return cpu;
  uint32_t first = 0;  // the list is "0,32" or "0-1"
  const bool found = std::fscanf(file, "%u", &first) == 1;
  std::fclose(file);
  return found ? first : cpu;
}

// One CPU of each physical core that this process may use, ascending; empty where the system does
// not say.
std::vector<uint32_t> usable_cores() {
  constexpr uint32_t kMaxCpus = 8192;
  std::vector<cpu_set_t> sets(kMaxCpus / CPU_SETSIZE);
  const size_t num_bytes = sets.size() * sizeof(cpu_set_t);
  if (sched_getaffinity(0, num_bytes, sets.data()) != 0) return {};
  std::vector<uint32_t> cpus;
  std::vector<uint32_t> cores;
  for (uint32_t cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (!CPU_ISSET_S(cpu, num_bytes, sets.data())) continue;
    const uint32_t core = core_of(cpu);
    if (std::find(cores.begin(), cores.end(), core) != cores.end()) continue;
    cores.push_back(core);
    cpus.push_back(cpu);
  }
  return cpus;
}

// Best effort: a pool without pinning is slower, not wrong.
void pin_to(uint32_t cpu) {
  std::vector<cpu_set_t> sets(cpu / CPU_SETSIZE + 1);
  const size_t num_bytes = sets.size() * sizeof(cpu_set_t);
  CPU_ZERO_S(num_bytes, sets.data());
  CPU_SET_S(cpu, num_bytes, sets.data());
  pthread_setaffinity_np(pthread_self(), num_bytes, sets.data());
}

// The CPUs of threads 1, 2, ...; empty where they are not pinned.
std::vector<uint32_t> cpus_of_workers(uint32_t num_threads) {
  std::vector<uint32_t> cpus = usable_cores();
  if (num_threads > cpus.size()) return {};
  const int here = sched_getcpu();
  const uint32_t core = here < 0 ? cpus[0] : core_of(static_cast<uint32_t>(here));
  auto callers =
      std::find_if(cpus.begin(), cpus.end(), [&](uint32_t cpu) { return core_of(cpu) == core; });
  // From the caller's core on upwards, so that neighbours in the tree are neighbours in the
  // machine.
  if (callers == cpus.end()) callers = cpus.begin();
  std::rotate(cpus.begin(), callers, cpus.end());
  cpus.erase(cpus.begin());
  return cpus;
}

}  // namespace

uint32_t num_physical_cores() {
  const size_t num_cores = usable_cores().size();
  if (num_cores != 0) return static_cast<uint32_t>(num_cores);
  return std::max(1u, std::thread::hardware_concurrency());
}

// Both sides use sequentially consistent operations on two words (value, num_sleepers): either the
// publisher sees the sleeper, or the sleeper sees the value.
void ThreadPool::WaitWord::publish(uint32_t next) noexcept {
  value.store(next, std::memory_order_seq_cst);
  if (num_sleepers.load(std::memory_order_seq_cst) != 0) value.notify_all();
}

void ThreadPool::WaitWord::wait_for(uint32_t next, bool yield) noexcept {
  const auto has_come = [&] { return value.load(std::memory_order_acquire) == next; };
  if (has_come()) return;
  const auto start = std::chrono::steady_clock::now();
  do {
    if (yield) sched_yield();
    const int num_pauses = yield ? 1 : kPausesPerClockRead;
    for (int i = 0; i < num_pauses; ++i) {
      if (has_come()) return;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() - start < kSpinTime);
  num_sleepers.fetch_add(1, std::memory_order_seq_cst);
  for (uint32_t now = value.load(std::memory_order_seq_cst); now != next;
       now = value.load(std::memory_order_acquire)) {
    value.wait(now, std::memory_order_seq_cst);
  }
  num_sleepers.fetch_sub(1, std::memory_order_relaxed);
}

ThreadPool::ThreadPool(uint32_t num_threads)
    : num_threads_(num_threads), slots_(std::make_unique<Slot[]>(num_threads)) {}

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(uint32_t num_threads) {
  if (num_threads < 1 || num_threads > kMaxThreads) {
    return error("threads: expected 1 to {}, found {}", kMaxThreads, num_threads);
  }
  std::unique_ptr<ThreadPool> pool(new ThreadPool(num_threads));
  if (num_threads == 1) return pool;
  const std::vector<uint32_t> cpus = cpus_of_workers(num_threads);
  pool->yield_ = cpus.empty();
  pool->workers_.reserve(num_threads - 1);
  for (uint32_t thread = 1; thread < num_threads; ++thread) {
    const uint32_t cpu = cpus.empty() ? kNotPinned : cpus[thread - 1];
    try {
      pool->workers_.emplace_back(&ThreadPool::worker_main, pool.get(), thread, cpu);
    } catch (const std::system_error& failure) {
      return error("threads: expected to start {}, the system refused number {}: {}", num_threads,
                   thread, failure.what());
    }
  }
  pool->released_.publish(pool->slots_[0].phase);
  pool->arrive(0);
  return pool;
}

ThreadPool::~ThreadPool() {
  if (workers_.empty()) return;
  stop_ = true;
  released_.publish(slots_[0].phase);
  for (std::thread& worker : workers_) worker.join();
}

// The threads of the subtree below `thread` and then itself have reached the next phase, which is
// returned.
uint32_t ThreadPool::arrive(uint32_t thread) noexcept {
  Slot& slot = slots_[thread];
  const uint32_t phase = ++slot.phase;
  const uint32_t first = thread * kNumChildren + 1;
  const uint32_t last = std::min(first + kNumChildren, num_threads_);
  for (uint32_t child = first; child < last; ++child) {
    slots_[child].arrived.wait_for(phase, yield_);
  }
  if (thread != 0) slot.arrived.publish(phase);
  return phase;
}

void ThreadPool::barrier() noexcept {
  if (num_threads_ == 1) return;
  const uint32_t thread = current_thread;
  const uint32_t phase = arrive(thread);
  if (thread == 0) {
    released_.publish(phase);
  } else {
    released_.wait_for(phase, yield_);
  }
}

void ThreadPool::run_job(Job job) noexcept {
  DCHECK(job_.call == nullptr);
  // The caller may be a worker of another pool.
  const uint32_t outer_thread = std::exchange(current_thread, 0);
  job_ = job;
  released_.publish(slots_[0].phase);
  job.call(job.context, 0);
  arrive(0);
  job_ = {};
  current_thread = outer_thread;
}

void ThreadPool::worker_main(uint32_t thread, uint32_t cpu) noexcept {
  current_thread = thread;
  if (cpu != kNotPinned) pin_to(cpu);
  // Signals are the program's own business: its handlers run on its own threads.
  sigset_t all_signals;
  sigfillset(&all_signals);
  pthread_sigmask(SIG_BLOCK, &all_signals, nullptr);
  // Phase 1 is released when every thread has started, or refused to: an arrival would wait for
  // children that may never come.
  released_.wait_for(slots_[thread].phase, yield_);
  while (!stop_) {
    released_.wait_for(arrive(thread), yield_);
    if (!stop_) job_.call(job_.context, thread);
  }
}

}  // namespace skein
