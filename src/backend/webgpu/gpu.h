// Gpu: one WebGPU device: instance, adapter, device, queue, their limits and errors.
//
// Goals: every limit and feature that the adapter has is asked for; callbacks only record, and what
// they recorded is one line at a time of our choosing (take_error). Non-goals: what to run on it.
//
// Not for several threads at once. wgpuInstanceWaitAny aborts in wgpu-native, so waiting is
// wgpuDevicePoll(wait): blocking, since spinning would take lavapipe's own cores away.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/webgpu/wgpu_api.h"
#include "base/result.h"

namespace skein::webgpu {

// What the adapter of a machine says of itself.
struct AdapterInfo {
  std::string name;     // "llvmpipe (LLVM 15.0.6, 256 bits)"
  std::string driver;   // "llvmpipe: Mesa 22.3.6"; may be empty
  std::string backend;  // "Vulkan"
  std::string type;     // "discrete GPU", "integrated GPU", "CPU", "unknown"

  std::string text() const;  // all of it in one line
};

struct GpuLimits {
  uint64_t max_buffer_bytes = 0;
  uint64_t max_binding_bytes = 0;
  uint32_t max_storage_buffers = 0;  // of one shader
  uint32_t max_groups = 0;           // of one dimension of a dispatch
  uint32_t max_group_threads = 0;
  uint32_t max_group_bytes = 0;  // workgroup memory
  // Software compiles what is unrolled for many seconds and gains nothing by it.
  bool is_software = false;
  // What only some devices have; there is a way without each.
  bool has_subgroups = false;  // sums over the threads of a subgroup
  // Of a subgroup, which are neighbours in the workgroup (measure_subgroup()); 0: not known.
  uint32_t subgroup_threads = 0;
  bool has_timestamps = false;  // inside a pass
  bool has_f16 = false;         // arithmetic of f16
  // Products of four-bit codes may round to f16: asked for, and the device has it.
  bool is_fast = false;
};

// Owns one reference to an object of the API.
template <class T>
class Handle {
 public:
  Handle() = default;
  Handle(T raw, void (*release)(T)) noexcept : raw_(raw), release_(release) {}
  Handle(Handle&& other) noexcept
      : raw_(std::exchange(other.raw_, nullptr)), release_(other.release_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(raw_, other.raw_);
    std::swap(release_, other.release_);
    return *this;
  }
  ~Handle() {
    if (raw_ != nullptr) release_(raw_);
  }

  T get() const noexcept { return raw_; }
  explicit operator bool() const noexcept { return raw_ != nullptr; }

 private:
  T raw_ = nullptr;
  void (*release_)(T) = nullptr;
};

// The adapters of this machine in the order of their numbers. WGPU_BACKEND (vulkan, metal, dx12 or
// gl) leaves those of one API. Errors: no library, an unknown word in WGPU_BACKEND.
Result<std::vector<AdapterInfo>> list_adapters();

class Gpu {
 public:
  // Adapter number `adapter` of list_adapters(), or without one the first of the best type:
  // discrete before integrated before anything else. `is_plain` asks for no feature, as if the
  // device had none. `api`: for tests, functions that watch the library's or fail; they must
  // outlive everything. Errors: no library, no such adapter (those there are listed), an adapter
  // that gives no device or too little.
  static Result<std::shared_ptr<Gpu>> create(std::optional<uint32_t> adapter, bool is_plain = false,
                                             const WgpuApi* api = nullptr);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  const WgpuApi& api() const noexcept { return api_; }
  WGPUDevice device() const noexcept { return device_.get(); }
  WGPUQueue queue() const noexcept { return queue_.get(); }
  const AdapterInfo& info() const noexcept { return info_; }
  const GpuLimits& limits() const noexcept { return limits_; }
  bool is_cpu() const noexcept { return info_.type == "CPU"; }
  // Whether labels go to the driver, where debuggers see them (WGPU_DEBUG): then what is encoded
  // names its ops.
  bool names_ops() const noexcept { return names_ops_; }

  // Blocks until everything submitted has run and its callbacks were called.
  void wait() noexcept;
  // Maps a whole staging buffer, which waits for everything submitted that writes it, and reads it.
  Status read_mapped(WGPUBuffer buffer, std::span<std::byte> bytes);
  // Products may round, where the device has the arithmetic.
  void allow_rounding() noexcept { limits_.is_fast = limits_.has_f16; }
  // Smaller limits than the device's, for tests.
  void limit_bindings(uint64_t num_bytes) noexcept {
    limits_.max_binding_bytes = std::min(limits_.max_binding_bytes, num_bytes);
  }
  void limit_buffers(uint64_t num_bytes) noexcept {
    limits_.max_buffer_bytes = std::min(limits_.max_buffer_bytes, num_bytes);
  }

  // As if it were no software, for tests.
  void use_hardware_kernels() noexcept { limits_.is_software = false; }

  void set_subgroup_threads(uint32_t count) noexcept { limits_.subgroup_threads = count; }

  // The first thing that went wrong since the last call, as one line; of a lost device, that it is.
  Status take_error();
  // Keeps `message` for take_error(), unless there is one already.
  void record_error(std::string message);
  // Lost devices run nothing any more: nothing may be submitted or waited for.
  bool is_lost() const noexcept { return lost_; }
  // For tests: what a driver does that gives up.
  void lose() noexcept;

  // A buffer with zeros in it. Errors: too large for the device, no memory.
  Result<Handle<WGPUBuffer>> create_buffer(uint64_t num_bytes, WGPUBufferUsage usage,
                                           const char* label);

 private:
  explicit Gpu(const WgpuApi& api) : api_(api) {}
  Status open_device(bool is_plain);
  void on_lost(std::string_view message);
  Status request_device(const WGPULimits& limits, const std::vector<WGPUFeatureName>& features);

  const WgpuApi& api_;
  Handle<WGPUInstance> instance_;
  Handle<WGPUAdapter> adapter_;
  Handle<WGPUDevice> device_;
  Handle<WGPUQueue> queue_;
  AdapterInfo info_;
  GpuLimits limits_;
  std::string error_;
  bool lost_ = false, closing_ = false, names_ops_ = false;
};

// What the library says is an indented tree: "Validation Error\n\nCaused by:\n  In ...". All of it
// in one line.
std::string one_line(std::string message);

}  // namespace skein::webgpu
