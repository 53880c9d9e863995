// Kernels: from a shader's text and its buffers to something that can be dispatched, made once and
// found again.
//
// Two caches. Pipelines are found by their text, so that all layers of a model share them (sizes
// are in the text, places in the bindings). Steps, the dispatches of one step of one layer, are
// found by a key of everything that went into them: buffers, offsets, layouts, numbers of tokens. A
// step goes when one of its buffers does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "backend/kernel_form.h"
#include "backend/rwkv7.h"
#include "backend/webgpu/bindings.h"
#include "backend/webgpu/commands.h"
#include "backend/webgpu/shader_library.h"

namespace skein::webgpu {

// A shader with its buffers and its grid of workgroups; the entry point is `main`.
struct Kernel {
  std::string label;  // of the op: "ffn_key"
  ShaderText shader;
  Bindings bindings;
  uint32_t x = 1, y = 1, z = 1;
  std::string detail = {};  // "f16 row_major": what a debugger shows beside the label
  bool needs_f16 = false;   // GpuLimits::is_fast
  // Places in buffers follow from what a text says, such as token ids. All other shaders' follow
  // from sizes, and no index leaves its buffer: checking each costs up to a fifth (H200).
  bool checks_bounds = false;
};

// What makes one step differ from another.
class StepKey {
 public:
  explicit StepKey(uint64_t step) { add(step); }
  void add(uint64_t value) { values_.push_back(value); }
  void add(const Tensor& tensor);
  void add(const Activation& activation);
  void add(const KernelForm& form);

  const std::vector<uint64_t>& values() const noexcept { return values_; }

 private:
  std::vector<uint64_t> values_;
};

class Kernels {
 public:
  Kernels(std::shared_ptr<Gpu> gpu, Commands& commands)
      : gpu_(std::move(gpu)), commands_(commands) {}

  // Adds the step's dispatches to the commands; `make` says what they are when the key is new.
  Status run(const StepKey& key, const std::function<Result<std::vector<Kernel>>()>& make);

  // A buffer is about to go.
  void release(uint64_t buffer_id);

  size_t num_pipelines() const noexcept { return pipelines_.size(); }

 private:
  struct Pipeline {
    Handle<WGPUComputePipeline> pipeline;
    Handle<WGPUBindGroupLayout> layout;
  };
  struct Step {
    std::vector<Dispatch> dispatches;
    std::vector<Handle<WGPUBindGroup>> groups;
    std::vector<uint64_t> buffer_ids;
  };
  struct Hash {
    size_t operator()(const std::vector<uint64_t>& key) const noexcept;
  };

  Result<const Pipeline*> pipeline(const Kernel& kernel);
  Result<Pipeline> compile(const Kernel& kernel, const std::string& text) const;
  Result<Step> make_step(std::span<const Kernel> kernels);

  std::shared_ptr<Gpu> gpu_;
  Commands& commands_;
  std::unordered_map<std::string, Pipeline> pipelines_;
  std::set<std::string, std::less<>> labels_;  // that dispatches point at
  std::unordered_map<std::vector<uint64_t>, Step, Hash> steps_;
};

}  // namespace skein::webgpu
