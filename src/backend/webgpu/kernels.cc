#include "backend/webgpu/kernels.h"

#include <algorithm>
#include <charconv>

namespace skein::webgpu {
namespace {

// The library says "wgsl:LINE:COL" of the text that it was given: the place in our files instead.
std::string place_in_files(const std::string& message, const ShaderText& shader,
                           uint32_t num_lines_before) {
  const size_t at = message.find("wgsl:");
  if (at == std::string::npos) return shader.origin(1);
  uint32_t line = 0;
  const char* digits = message.data() + at + 5;
  std::from_chars(digits, message.data() + message.size(), line);
  return line > num_lines_before ? shader.origin(line - num_lines_before) : "bindings";
}

// Prompts of every length make steps of their own; a model of 61 layers has 500 of one length.
constexpr size_t kMaxSteps = 16384;

struct ScopeResult {
  bool has_error = false;
  std::string message;
};

}  // namespace

void StepKey::add(const Tensor& tensor) {
  if (!tensor) return add(~uint64_t{0});
  const Layout& layout = tensor.layout();
  add(gpu_buffer(*tensor.buffer()).id());
  add(tensor.offset_bytes());
  add(tensor.rows() << 32 | tensor.cols());
  add(uint64_t{static_cast<uint8_t>(tensor.dtype())} << 40 |
      uint64_t{static_cast<uint8_t>(layout.kind)} << 32 | layout.align_bytes);
  add(uint64_t{layout.rows} << 32 | layout.cols);
  add(layout.chunk);
}

void StepKey::add(const Activation& activation) {
  if (activation.buffer == nullptr) return add(~uint64_t{0});
  add(gpu_buffer(*activation.buffer).id());
  add(activation.offset_elems);
  add(activation.stride_elems << 32 | activation.num_cols);
}

// Powers of two below 2^16.
void StepKey::add(const KernelForm& form) {
  add(uint64_t{form.group_threads} << 48 | uint64_t{form.row_threads} << 32 |
      uint64_t{form.thread_rows} << 16 | form.loads);
  add(uint64_t{form.tile_rows} << 48 | uint64_t{form.tile_tokens} << 32 |
      uint64_t{form.tile_thread_rows} << 16 | form.thread_tokens);
}

size_t Kernels::Hash::operator()(const std::vector<uint64_t>& key) const noexcept {
  uint64_t hash = 0x9e3779b97f4a7c15u;
  for (const uint64_t value : key) {
    hash = (hash ^ value) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  return hash;
}

Status Kernels::run(const StepKey& key, const std::function<Result<std::vector<Kernel>>()>& make) {
  auto found = steps_.find(key.values());
  if (found == steps_.end()) {
    SKEIN_ASSIGN_OR_RETURN(const std::vector<Kernel> kernels, make());
    SKEIN_ASSIGN_OR_RETURN(Step step, make_step(kernels));
    if (steps_.size() >= kMaxSteps) {
      commands_.submit();
      commands_.forget();
      steps_.clear();
    }
    found = steps_.emplace(key.values(), std::move(step)).first;
  }
  for (const Dispatch& dispatch : found->second.dispatches) commands_.add(dispatch);
  return {};
}

void Kernels::release(uint64_t buffer_id) {
  const auto uses = [&](const auto& entry) {
    const std::vector<uint64_t>& ids = entry.second.buffer_ids;
    return std::find(ids.begin(), ids.end(), buffer_id) != ids.end();
  };
  // What waits to be submitted may use the step's bind groups; what is encoded ahead, copies to the
  // buffer too.
  if (std::any_of(steps_.begin(), steps_.end(), uses)) commands_.submit();
  commands_.forget();
  std::erase_if(steps_, uses);
}

Result<const Kernels::Pipeline*> Kernels::pipeline(const Kernel& kernel) {
  const std::string text = (kernel.needs_f16 ? "enable f16;\n" : "") +
                           kernel.bindings.declarations() + kernel.shader.text();
  const auto found = pipelines_.find(text);
  if (found != pipelines_.end()) return &found->second;
  SKEIN_ASSIGN_OR_RETURN(Pipeline pipeline, compile(kernel, text));
  return &pipelines_.emplace(text, std::move(pipeline)).first->second;
}

Result<Kernels::Pipeline> Kernels::compile(const Kernel& kernel, const std::string& text) const {
  const WgpuApi& api = gpu_->api();
  const std::string label =
      kernel.detail.empty() ? kernel.label : kernel.label + " " + kernel.detail;
  api.DevicePushErrorScope(gpu_->device(), WGPUErrorFilter_Validation);
  WGPUShaderSourceWGSL source = {};
  source.chain.sType = WGPUSType_ShaderSourceWGSL;
  source.code = view_of(text);
  WGPUShaderModuleDescriptor module_descriptor = {};
  module_descriptor.nextInChain = &source.chain;
  module_descriptor.label = view_of(label);
  // Our loops end: the bounds that the library adds to each cost 4 to 20 % (H200, 2026-11-23).
  const WGPUShaderRuntimeChecks checks =
      kernel.checks_bounds ? WGPUShaderRuntimeChecks_BoundsChecks : WGPUShaderRuntimeChecks_None;
  const Handle<WGPUShaderModule> module(
      api.DeviceCreateShaderModuleTrusted(gpu_->device(), &module_descriptor, checks),
      api.ShaderModuleRelease);

  std::vector<WGPUBindGroupLayoutEntry> entries(kernel.bindings.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i] = {};
    entries[i].binding = static_cast<uint32_t>(i);
    entries[i].visibility = WGPUShaderStage_Compute;
    entries[i].buffer.type = kernel.bindings.list()[i].is_written
                                 ? WGPUBufferBindingType_Storage
                                 : WGPUBufferBindingType_ReadOnlyStorage;
  }
  WGPUBindGroupLayoutDescriptor group_descriptor = {};
  group_descriptor.label = view_of(label);
  group_descriptor.entryCount = entries.size();
  group_descriptor.entries = entries.data();
  Handle<WGPUBindGroupLayout> group(
      api.DeviceCreateBindGroupLayout(gpu_->device(), &group_descriptor),
      api.BindGroupLayoutRelease);
  const WGPUBindGroupLayout raw_group = group.get();
  WGPUPipelineLayoutDescriptor layout_descriptor = {};
  layout_descriptor.bindGroupLayoutCount = 1;
  layout_descriptor.bindGroupLayouts = &raw_group;
  const Handle<WGPUPipelineLayout> layout(
      api.DeviceCreatePipelineLayout(gpu_->device(), &layout_descriptor),
      api.PipelineLayoutRelease);

  WGPUComputePipelineDescriptor descriptor = {};
  descriptor.label = view_of(label);
  descriptor.layout = layout.get();
  descriptor.compute.module = module.get();
  descriptor.compute.entryPoint = view_of("main");
  Handle<WGPUComputePipeline> pipeline(api.DeviceCreateComputePipeline(gpu_->device(), &descriptor),
                                       api.ComputePipelineRelease);

  ScopeResult result;
  WGPUPopErrorScopeCallbackInfo callback = {};
  callback.mode = WGPUCallbackMode_AllowSpontaneous;
  callback.userdata1 = &result;
  callback.callback = [](WGPUPopErrorScopeStatus, WGPUErrorType type, WGPUStringView message,
                         void* out, void*) {
    if (type == WGPUErrorType_NoError) return;
    *static_cast<ScopeResult*>(out) = {true, text_of(message)};
  };
  api.DevicePopErrorScope(gpu_->device(), callback);
  if (result.has_error) {
    const std::string place = place_in_files(result.message, kernel.shader,
                                             static_cast<uint32_t>(kernel.bindings.size()));
    return error("shader '{}', {}: {}", kernel.label, place, result.message);
  }
  SKEIN_RETURN_IF_ERROR(gpu_->take_error());
  return Pipeline{std::move(pipeline), std::move(group)};
}

Result<Kernels::Step> Kernels::make_step(std::span<const Kernel> kernels) {
  const WgpuApi& api = gpu_->api();
  Step step;
  for (const Kernel& kernel : kernels) {
    SKEIN_ASSIGN_OR_RETURN(const Pipeline* pipeline, this->pipeline(kernel));
    std::vector<WGPUBindGroupEntry> entries(kernel.bindings.size());
    for (size_t i = 0; i < entries.size(); ++i) {
      const Binding& binding = kernel.bindings.list()[i];
      entries[i] = {};
      entries[i].binding = static_cast<uint32_t>(i);
      entries[i].buffer = binding.buffer->handle();
      entries[i].offset = binding.begin;
      entries[i].size = binding.end - binding.begin;
      step.buffer_ids.push_back(binding.buffer->id());
    }
    WGPUBindGroupDescriptor descriptor = {};
    descriptor.label = view_of(kernel.label);
    descriptor.layout = pipeline->layout.get();
    descriptor.entryCount = entries.size();
    descriptor.entries = entries.data();
    step.groups.emplace_back(api.DeviceCreateBindGroup(gpu_->device(), &descriptor),
                             api.BindGroupRelease);
    SKEIN_RETURN_IF_ERROR(gpu_->take_error());
    step.dispatches.push_back({pipeline->pipeline.get(), step.groups.back().get(), kernel.x,
                               kernel.y, kernel.z, *labels_.emplace(kernel.label).first});
  }
  return step;
}

}  // namespace skein::webgpu
