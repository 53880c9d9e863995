#include "plan/perf_counters.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#ifdef __linux__
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#endif

namespace skein {

std::optional<double> PerfCounts::hit_percent() const noexcept {
  const std::optional<uint64_t> reads = (*this)[PerfEvent::kL1dReads];
  const std::optional<uint64_t> misses = (*this)[PerfEvent::kLlcMisses];
  if (!reads || !misses || *reads == 0 || *misses > *reads) return std::nullopt;
  return 100.0 * (1.0 - static_cast<double>(*misses) / static_cast<double>(*reads));
}

PerfCounters::PerfCounters(PerfCounters&& other) noexcept : files_(other.files_) {
  other.files_.fill(kNone);
}

PerfCounters& PerfCounters::operator=(PerfCounters&& other) noexcept {
  std::swap(files_, other.files_);
  return *this;
}

PerfCounters::~PerfCounters() { close_all(); }

#ifdef __linux__

namespace {

struct EventCode {
  uint32_t type;
  uint64_t config;
};

constexpr uint64_t cache_event(uint64_t cache, uint64_t result) {
  return cache | uint64_t{PERF_COUNT_HW_CACHE_OP_READ} << 8 | result << 16;
}

// In the order of PerfEvent.
constexpr std::array<EventCode, kNumPerfEvents> kCodes = {{
    {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
    {PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
    {PERF_TYPE_HW_CACHE, cache_event(PERF_COUNT_HW_CACHE_L1D, PERF_COUNT_HW_CACHE_RESULT_ACCESS)},
    {PERF_TYPE_HW_CACHE, cache_event(PERF_COUNT_HW_CACHE_L1D, PERF_COUNT_HW_CACHE_RESULT_MISS)},
    {PERF_TYPE_HW_CACHE, cache_event(PERF_COUNT_HW_CACHE_DTLB, PERF_COUNT_HW_CACHE_RESULT_MISS)},
    {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_REFERENCES},
    {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
}};

// Events [begin, end) of a group.
struct Group {
  size_t begin, end;
};
constexpr Group kGroups[] = {{0, 2}, {2, 5}, {5, 7}};

int open_event(const EventCode& code, int leader) {
  perf_event_attr attributes{};
  attributes.size = sizeof(attributes);
  attributes.type = code.type;
  attributes.config = code.config;
  attributes.disabled = leader == -1 ? 1 : 0;
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  attributes.read_format =
      PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  return static_cast<int>(
      ::syscall(SYS_perf_event_open, &attributes, 0, -1, leader, PERF_FLAG_FD_CLOEXEC));
}

// The first event of the group that opened.
int leader_of(Group group, const std::array<int, kNumPerfEvents>& files) {
  for (size_t e = group.begin; e < group.end; ++e) {
    if (files[e] >= 0) return files[e];
  }
  return -1;
}

std::string reason(int failure) {
  if (failure == EACCES || failure == EPERM) {
    const Result<std::string> level = read_text_file("/proc/sys/kernel/perf_event_paranoid", 64);
    const std::string value = level ? level->substr(0, level->find('\n')) : "unknown";
    return fmt::format("no permission (perf_event_paranoid is {}, expected at most 2)", value);
  }
  if (failure == ENOENT || failure == EOPNOTSUPP || failure == ENODEV) {
    return fmt::format("the machine shows no such counters ({}), as most virtual machines",
                       std::strerror(failure));
  }
  return std::strerror(failure);
}

// What read() gives for a group of at most three events.
struct GroupValues {
  uint64_t count = 0, enabled = 0, running = 0;
  uint64_t values[3] = {};
};

}  // namespace

Result<PerfCounters> PerfCounters::open() {
  PerfCounters counters;
  int failure = 0;
  bool any = false;
  for (const Group group : kGroups) {
    for (size_t e = group.begin; e < group.end; ++e) {
      counters.files_[e] = open_event(kCodes[e], leader_of(group, counters.files_));
      if (counters.files_[e] >= 0) {
        any = true;
      } else if (failure == 0) {
        failure = errno;
      }
    }
  }
  if (!any) return error("hardware counters: {}", reason(failure));
  return counters;
}

Status PerfCounters::start() {
  for (const Group group : kGroups) {
    const int leader = leader_of(group, files_);
    if (leader < 0) continue;
    if (::ioctl(leader, PERF_EVENT_IOC_RESET, PERF_IOC_FLAG_GROUP) != 0 ||
        ::ioctl(leader, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP) != 0) {
      return error("hardware counters: starting: {}", std::strerror(errno));
    }
  }
  return {};
}

Result<PerfCounts> PerfCounters::stop() {
  for (const Group group : kGroups) {
    const int leader = leader_of(group, files_);
    if (leader >= 0) ::ioctl(leader, PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
  }
  PerfCounts counts;
  for (const Group group : kGroups) {
    const int leader = leader_of(group, files_);
    if (leader < 0) continue;
    GroupValues read;
    if (::read(leader, &read, sizeof(read)) < 0) {
      return error("hardware counters: reading: {}", std::strerror(errno));
    }
    if (read.enabled == 0 || read.running == 0) {
      counts.share_running = 0;
      continue;
    }
    const double share = static_cast<double>(read.running) / static_cast<double>(read.enabled);
    counts.share_running = std::min(counts.share_running, share);
    size_t next = 0;
    for (size_t e = group.begin; e < group.end; ++e) {
      if (files_[e] < 0) continue;
      const auto value = static_cast<double>(read.values[next++]);
      counts.values[e] = static_cast<uint64_t>(value / share);
    }
  }
  return counts;
}

void PerfCounters::close_all() noexcept {
  for (int& file : files_) {
    if (file >= 0) ::close(file);
    file = kNone;
  }
}

#else

Result<PerfCounters> PerfCounters::open() {
  return error("hardware counters: expected Linux (perf_event_open)");
}
Status PerfCounters::start() { return {}; }
Result<PerfCounts> PerfCounters::stop() { return PerfCounts{}; }
void PerfCounters::close_all() noexcept {}

#endif

}  // namespace skein
