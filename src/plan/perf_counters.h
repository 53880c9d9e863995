// PerfCounters: the CPU's own counts of what one piece of code did, through perf_event_open
// (Linux).
//
// Goals: counts of the calling thread, user code only, where machine and permissions allow; else
// one line that says why not, and the caller simulates (cache_model.h). Non-goals: sampling, other
// threads (count with one thread, which is also what the model replays), events of one vendor.
//
// Events are opened in three groups, since a CPU may have only four counters and a group counts all
// of its events or none. The kernel takes turns where they do not fit together; counts are scaled
// by time enabled over time running, and share_running says how much was really counted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/result.h"

namespace skein {

enum class PerfEvent : uint8_t {
  kCycles,
  kInstructions,
  kL1dReads,
  kL1dReadMisses,
  kDtlbReadMisses,
  kLlcReferences,  // last level of cache
  kLlcMisses,
};

inline constexpr size_t kNumPerfEvents = 7;

struct PerfCounts {
  // Nothing for an event that this CPU does not have or that was never scheduled.
  std::array<std::optional<uint64_t>, kNumPerfEvents> values;
  // The least that a group was counting, of the time between start() and stop(); 1: all of it.
  double share_running = 1;

  std::optional<uint64_t> operator[](PerfEvent event) const noexcept {
    return values[static_cast<size_t>(event)];
  }
  // Of the loads, those that some cache had: what StreamReport::hit_percent() simulates.
  std::optional<double> hit_percent() const noexcept;
};

class PerfCounters {
 public:
  // Errors, one line each: no events on this machine (a VM without PMU), no permission
  // (perf_event_paranoid), no such system. Succeeds where at least one group opens.
  static Result<PerfCounters> open();

  PerfCounters(PerfCounters&& other) noexcept;
  PerfCounters& operator=(PerfCounters&& other) noexcept;
  PerfCounters(const PerfCounters&) = delete;
  PerfCounters& operator=(const PerfCounters&) = delete;
  ~PerfCounters();

  // From 0. By the thread that called open(), as stop().
  Status start();
  // What was counted since start().
  Result<PerfCounts> stop();

 private:
  static constexpr int kNone = -1;

  PerfCounters() { files_.fill(kNone); }
  void close_all() noexcept;

  std::array<int, kNumPerfEvents> files_;  // by event; kNone where it did not open
};

}  // namespace skein
