// Commands: what is to run on the device, gathered as a list and submitted in one command buffer
// with one compute pass.
//
// Goals: a token's list is the same as the one before, so while the GPU works on one token the
// command buffer of the next is encoded already (encoding takes as long as a third of a small
// model's token; a command buffer serves one submission only). Non-goals: knowing what the
// dispatches are.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/webgpu/gpu.h"

namespace skein::webgpu {

// The pipeline and the bind group must live until it was submitted.
struct Dispatch {
  WGPUComputePipeline pipeline = nullptr;
  WGPUBindGroup bindings = nullptr;
  uint32_t x = 1, y = 1, z = 1;
  std::string_view label = {};  // lives as long as the kernels do
  friend bool operator==(const Dispatch&, const Dispatch&) = default;
};

// Of a whole range of one buffer to another, behind all dispatches.
struct Copy {
  WGPUBuffer from = nullptr;
  uint64_t from_bytes = 0;
  WGPUBuffer to = nullptr;
  uint64_t num_bytes = 0;
  friend bool operator==(const Copy&, const Copy&) = default;
};

class Commands {
 public:
  explicit Commands(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}

  void add(const Dispatch& dispatch) { list_.dispatches.push_back(dispatch); }
  void add(const Copy& copy) { list_.copies.push_back(copy); }
  bool empty() const noexcept { return list_.dispatches.empty() && list_.copies.empty(); }

  // Gives the list to the queue and starts a new one.
  void submit();
  // Encodes the list that was submitted last once more, if it was the same as the one before: to be
  // called while the GPU works.
  void encode_ahead();
  // Forgets what was encoded ahead and what it was compared with: objects of it may go.
  void forget();

  uint64_t num_dispatches() const noexcept { return num_dispatches_; }  // submitted so far

  // Has every dispatch timed from now on, one after the other, or every list as a whole. False: the
  // device has no clocks.
  enum class Clock : uint8_t { kOff, kDispatches, kLists };
  bool set_clock(Clock clock);
  std::vector<OpTime> take_op_times() { return std::exchange(op_times_, {}); }

 private:
  struct List {
    std::vector<Dispatch> dispatches;
    std::vector<Copy> copies;
    friend bool operator==(const List&, const List&) = default;
  };
  Handle<WGPUCommandBuffer> encode(const List& list, WGPUQuerySet times = nullptr) const;
  void submit_one(WGPUCommandBuffer commands);
  Status submit_timed();
  void add_op_time(std::string_view op, double seconds);

  std::shared_ptr<Gpu> gpu_;
  List list_, last_;
  bool is_repeated_ = false;  // last_ was the same as the list before it
  // Encoded and not yet submitted. It is kept while other lists run, since tokens are decoded again
  // after the next text is read: dropped unsubmitted, the library keeps 120 KB of it (lavapipe).
  Handle<WGPUCommandBuffer> ahead_;
  List ahead_of_;
  uint64_t num_dispatches_ = 0;
  std::deque<WGPUSubmissionIndex> in_flight_;
  Clock clock_ = Clock::kOff;
  std::vector<OpTime> op_times_;
};

}  // namespace skein::webgpu
