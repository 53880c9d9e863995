#include "backend/webgpu/commands.h"

#include <algorithm>
#include <span>
#include <string>

namespace skein::webgpu {

namespace {

// Submissions that the host may be ahead of the device.
constexpr size_t kMaxInFlight = 4;
// Timestamps of one query set; a longer list is timed as far as that.
constexpr uint32_t kMaxTimes = 4096;
constexpr std::string_view kSubmission = "submission";

}  // namespace

Handle<WGPUCommandBuffer> Commands::encode(const List& list, WGPUQuerySet times) const {
  const WgpuApi& api = gpu_->api();
  const Handle<WGPUCommandEncoder> encoder(api.DeviceCreateCommandEncoder(gpu_->device(), nullptr),
                                           api.CommandEncoderRelease);
  if (!list.dispatches.empty()) {
    WGPUComputePassDescriptor descriptor = {};
    descriptor.label = view_of("skein");
    const Handle<WGPUComputePassEncoder> pass(
        api.CommandEncoderBeginComputePass(encoder.get(), &descriptor),
        api.ComputePassEncoderRelease);
    WGPUComputePipeline current = nullptr;
    uint32_t num_times = 0;
    const auto write_time = [&](bool is_edge) {
      if (times == nullptr || num_times == kMaxTimes) return;
      if (!is_edge && clock_ != Clock::kDispatches) return;
      api.ComputePassEncoderWriteTimestamp(pass.get(), times, num_times++);
    };
    std::string_view group;
    const auto enter_group = [&](std::string_view label) {
      if (!gpu_->names_ops() || label == group) return;
      if (!group.empty()) api.ComputePassEncoderPopDebugGroup(pass.get());
      if (!label.empty()) api.ComputePassEncoderPushDebugGroup(pass.get(), view_of(label));
      group = label;
    };
    write_time(true);
    for (const Dispatch& dispatch : list.dispatches) {
      enter_group(dispatch.label);
      if (dispatch.pipeline != current) {
        api.ComputePassEncoderSetPipeline(pass.get(), dispatch.pipeline);
        current = dispatch.pipeline;
      }
      api.ComputePassEncoderSetBindGroup(pass.get(), 0, dispatch.bindings, 0, nullptr);
      api.ComputePassEncoderDispatchWorkgroups(pass.get(), dispatch.x, dispatch.y, dispatch.z);
      write_time(&dispatch == &list.dispatches.back());
    }
    enter_group({});
    api.ComputePassEncoderEnd(pass.get());
  }
  for (const Copy& copy : list.copies) {
    api.CommandEncoderCopyBufferToBuffer(encoder.get(), copy.from, copy.from_bytes, copy.to, 0,
                                         copy.num_bytes);
  }
  return {api.CommandEncoderFinish(encoder.get(), nullptr), api.CommandBufferRelease};
}

bool Commands::set_clock(Clock clock) {
  clock_ = gpu_->limits().has_timestamps ? clock : Clock::kOff;
  return clock_ != Clock::kOff;
}

void Commands::add_op_time(std::string_view op, double seconds) {
  auto found = std::find_if(op_times_.begin(), op_times_.end(),
                            [&](const OpTime& time) { return time.op == op; });
  if (found == op_times_.end()) {
    op_times_.push_back({std::string(op)});
    found = op_times_.end() - 1;
  }
  ++found->count;
  found->seconds += seconds;
}

// Runs the list with timestamps around each dispatch, or all of them, and waits for them.
Status Commands::submit_timed() {
  const WgpuApi& api = gpu_->api();
  const bool is_whole = clock_ == Clock::kLists;
  const uint32_t count =
      is_whole ? 2 : std::min(static_cast<uint32_t>(list_.dispatches.size()) + 1, kMaxTimes);
  WGPUQuerySetDescriptor descriptor = {};
  descriptor.type = WGPUQueryType_Timestamp;
  descriptor.count = kMaxTimes;
  const Handle<WGPUQuerySet> times(api.DeviceCreateQuerySet(gpu_->device(), &descriptor),
                                   api.QuerySetRelease);
  const uint64_t num_bytes = uint64_t{count} * sizeof(uint64_t);
  SKEIN_ASSIGN_OR_RETURN(
      const Handle<WGPUBuffer> resolved,
      gpu_->create_buffer(num_bytes, WGPUBufferUsage_QueryResolve | WGPUBufferUsage_CopySrc,
                          "skein times"));
  SKEIN_ASSIGN_OR_RETURN(
      const Handle<WGPUBuffer> staging,
      gpu_->create_buffer(num_bytes, WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst,
                          "skein times"));
  submit_one(encode(list_, times.get()).get());
  {
    const Handle<WGPUCommandEncoder> encoder(
        api.DeviceCreateCommandEncoder(gpu_->device(), nullptr), api.CommandEncoderRelease);
    api.CommandEncoderResolveQuerySet(encoder.get(), times.get(), 0, count, resolved.get(), 0);
    api.CommandEncoderCopyBufferToBuffer(encoder.get(), resolved.get(), 0, staging.get(), 0,
                                         num_bytes);
    submit_one(Handle<WGPUCommandBuffer>(api.CommandEncoderFinish(encoder.get(), nullptr),
                                         api.CommandBufferRelease)
                   .get());
  }
  std::vector<uint64_t> ticks(count);
  SKEIN_RETURN_IF_ERROR(gpu_->read_mapped(staging.get(), std::as_writable_bytes(std::span(ticks))));
  const double period = static_cast<double>(api.QueueGetTimestampPeriod(gpu_->queue())) * 1e-9;
  for (uint32_t i = 0; i + 1 < count; ++i) {
    add_op_time(is_whole ? kSubmission : list_.dispatches[i].label,
                static_cast<double>(ticks[i + 1] - ticks[i]) * period);
  }
  return {};
}

void Commands::submit_one(WGPUCommandBuffer commands) {
  while (in_flight_.size() >= kMaxInFlight) {
    gpu_->api().DevicePoll(gpu_->device(), 1, &in_flight_.front());
    in_flight_.pop_front();
  }
  in_flight_.push_back(gpu_->api().QueueSubmitForIndex(gpu_->queue(), 1, &commands));
}

void Commands::submit() {
  if (gpu_->is_lost()) {
    list_.dispatches.clear();
    list_.copies.clear();
    return forget();
  }
  if (empty()) return;
  if (clock_ != Clock::kOff && !list_.dispatches.empty()) {
    ahead_ = {};
    if (const Status timed = submit_timed(); !timed) gpu_->record_error(timed.error().message);
    num_dispatches_ += list_.dispatches.size();
    list_.dispatches.clear();
    list_.copies.clear();
    forget();
    return;
  }
  is_repeated_ = list_ == last_;
  const bool is_encoded = ahead_ && list_ == ahead_of_;
  const Handle<WGPUCommandBuffer> commands = is_encoded ? std::move(ahead_) : encode(list_);
  submit_one(commands.get());
  num_dispatches_ += list_.dispatches.size();
  std::swap(list_, last_);
  list_.dispatches.clear();
  list_.copies.clear();
}

void Commands::encode_ahead() {
  if (!is_repeated_ || (ahead_ && ahead_of_ == last_)) return;
  ahead_ = encode(last_);
  ahead_of_ = last_;
}

void Commands::forget() {
  ahead_ = {};
  last_ = ahead_of_ = {};
  is_repeated_ = false;
}

}  // namespace skein::webgpu
