#include "backend/webgpu/gpu.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <cstring>

namespace skein::webgpu {
namespace {

// What the kernels of this backend need: weights, seven inputs, seven outputs and the batch in one
// dispatch would be 16; jobs are spread over more dispatches where there are fewer.
constexpr uint32_t kMinStorageBuffers = 12;

// The library's own numbers for what the standard does not name, or names and does not offer.
constexpr auto kSubgroups = static_cast<WGPUFeatureName>(WGPUNativeFeature_Subgroup);
constexpr auto kTimestampsInPasses =
    static_cast<WGPUFeatureName>(WGPUNativeFeature_TimestampQueryInsidePasses);
// None that the library calls experimental: adapters list those, and no device is given with them.
constexpr std::array kFeatures = {WGPUFeatureName_TimestampQuery, WGPUFeatureName_ShaderF16,
                                  kSubgroups, kTimestampsInPasses};
// Longer than a token of a large model, shorter than what a user would call busy.
constexpr std::chrono::milliseconds kMaxSpin(10);

// As the library reads it.
bool is_debugged() {
  const char* value = std::getenv("WGPU_DEBUG");
  return value != nullptr && std::string_view(value) != "0";
}

Result<WGPUInstanceBackend> wanted_backends() {
  const char* value = std::getenv("WGPU_BACKEND");
  std::string word = value == nullptr ? "" : value;
  for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (word.empty()) return WGPUInstanceBackend_Primary;
  if (word == "vulkan") return WGPUInstanceBackend_Vulkan;
  if (word == "metal") return WGPUInstanceBackend_Metal;
  if (word == "dx12") return WGPUInstanceBackend_DX12;
  if (word == "gl") return WGPUInstanceBackend_GL;
  return error("webgpu: WGPU_BACKEND: expected vulkan, metal, dx12 or gl, found '{}'", word);
}

std::string backend_name(WGPUBackendType type) {
  switch (type) {
    case WGPUBackendType_Vulkan:
      return "Vulkan";
    case WGPUBackendType_Metal:
      return "Metal";
    case WGPUBackendType_D3D12:
      return "DX12";
    case WGPUBackendType_D3D11:
      return "DX11";
    case WGPUBackendType_OpenGL:
      return "OpenGL";
    case WGPUBackendType_OpenGLES:
      return "OpenGL ES";
    default:
      return "unknown API";
  }
}

std::string type_name(WGPUAdapterType type) {
  switch (type) {
    case WGPUAdapterType_DiscreteGPU:
      return "discrete GPU";
    case WGPUAdapterType_IntegratedGPU:
      return "integrated GPU";
    case WGPUAdapterType_CPU:
      return "CPU";
    default:
      return "unknown";
  }
}

AdapterInfo info_of(const WgpuApi& api, WGPUAdapter adapter) {
  WGPUAdapterInfo raw = {};
  AdapterInfo info;
  if (api.AdapterGetInfo(adapter, &raw) != WGPUStatus_Success) return info;
  info.name = text_of(raw.device);
  info.driver = text_of(raw.description);
  info.backend = backend_name(raw.backendType);
  info.type = type_name(raw.adapterType);
  api.AdapterInfoFreeMembers(raw);
  return info;
}

Result<Handle<WGPUInstance>> make_instance(const WgpuApi& api) {
  SKEIN_ASSIGN_OR_RETURN(const WGPUInstanceBackend backends, wanted_backends());
  WGPUInstanceExtras extras = {};
  extras.chain.sType = static_cast<WGPUSType>(WGPUSType_InstanceExtras);
  extras.backends = backends;
  // Without WGPU_DEBUG no label leaves the library.
  extras.flags = WGPUInstanceFlag_WithEnv;
  WGPUInstanceDescriptor descriptor = {};
  descriptor.nextInChain = &extras.chain;
  Handle<WGPUInstance> instance(api.CreateInstance(&descriptor), api.InstanceRelease);
  if (!instance) return error("webgpu: the library could not make an instance");
  // The first one stays for good: a driver that is unloaded leaks what it had allocated, and
  // loading it again takes tens of milliseconds.
  [[maybe_unused]] static const WGPUInstance first = [&] {
    api.InstanceAddRef(instance.get());
    return instance.get();
  }();
  return instance;
}

std::vector<Handle<WGPUAdapter>> adapters_of(const WgpuApi& api, WGPUInstance instance) {
  const size_t count = api.InstanceEnumerateAdapters(instance, nullptr, nullptr);
  std::vector<WGPUAdapter> raw(count);
  if (count > 0) api.InstanceEnumerateAdapters(instance, nullptr, raw.data());
  std::vector<Handle<WGPUAdapter>> adapters;
  for (const WGPUAdapter adapter : raw) adapters.emplace_back(adapter, api.AdapterRelease);
  return adapters;
}

int rank_of(const AdapterInfo& info) {
  return info.type == "discrete GPU" ? 0 : info.type == "integrated GPU" ? 1 : 2;
}

Result<uint32_t> choose(const std::vector<AdapterInfo>& infos, std::optional<uint32_t> wanted) {
  if (infos.empty()) {
    return error("webgpu: expected an adapter, found none (is there a Vulkan driver?)");
  }
  if (!wanted) {
    const auto best = std::min_element(
        infos.begin(), infos.end(),
        [](const AdapterInfo& a, const AdapterInfo& b) { return rank_of(a) < rank_of(b); });
    return static_cast<uint32_t>(best - infos.begin());
  }
  if (*wanted < infos.size()) return *wanted;
  std::string list;
  for (size_t i = 0; i < infos.size(); ++i) {
    list += fmt::format("{}{}: {}", i == 0 ? "" : "; ", i, infos[i].text());
  }
  return error("webgpu: expected an adapter from 0 to {}, found {} ({})", infos.size() - 1, *wanted,
               list);
}

}  // namespace

std::string AdapterInfo::text() const {
  return driver.empty() ? fmt::format("{} ({}, {})", name, backend, type)
                        : fmt::format("{} ({}, {}, {})", name, backend, type, driver);
}

std::string one_line(std::string message) {
  for (char& c : message) {
    if (c == '\n') c = ' ';
  }
  const auto both_spaces = [](char a, char b) { return a == ' ' && b == ' '; };
  message.erase(std::unique(message.begin(), message.end(), both_spaces), message.end());
  if (message.ends_with(' ')) message.pop_back();
  return message;
}

Result<std::vector<AdapterInfo>> list_adapters() {
  SKEIN_ASSIGN_OR_RETURN(const WgpuApi* api, load_wgpu());
  SKEIN_ASSIGN_OR_RETURN(const Handle<WGPUInstance> instance, make_instance(*api));
  std::vector<AdapterInfo> infos;
  for (const auto& adapter : adapters_of(*api, instance.get())) {
    infos.push_back(info_of(*api, adapter.get()));
  }
  return infos;
}

Result<std::shared_ptr<Gpu>> Gpu::create(std::optional<uint32_t> adapter, bool is_plain,
                                         const WgpuApi* api) {
  if (api == nullptr) {
    SKEIN_ASSIGN_OR_RETURN(api, load_wgpu());
  }
  std::shared_ptr<Gpu> gpu(new Gpu(*api));
  SKEIN_ASSIGN_OR_RETURN(gpu->instance_, make_instance(*api));
  gpu->names_ops_ = is_debugged();
  std::vector<Handle<WGPUAdapter>> adapters = adapters_of(*api, gpu->instance_.get());
  std::vector<AdapterInfo> infos;
  for (const auto& one : adapters) infos.push_back(info_of(*api, one.get()));
  SKEIN_ASSIGN_OR_RETURN(const uint32_t index, choose(infos, adapter));
  gpu->adapter_ = std::move(adapters[index]);
  gpu->info_ = infos[index];
  SKEIN_RETURN_IF_ERROR(gpu->open_device(is_plain));
  return gpu;
}

Gpu::~Gpu() {
  // Callbacks point at this object: none may be left to come.
  closing_ = true;
  if (device_) wait();
  queue_ = {};
  device_ = {};
}

Status Gpu::open_device(bool is_plain) {
  WGPULimits limits = {};
  if (api_.AdapterGetLimits(adapter_.get(), &limits) != WGPUStatus_Success) {
    return error("webgpu: {}: the adapter does not tell its limits", info_.text());
  }
  limits.nextInChain = nullptr;
  limits_ = {limits.maxBufferSize, limits.maxStorageBufferBindingSize,
             limits.maxStorageBuffersPerShaderStage, limits.maxComputeWorkgroupsPerDimension,
             limits.maxComputeInvocationsPerWorkgroup};
  limits_.max_group_bytes = limits.maxComputeWorkgroupStorageSize;
  if (limits_.max_storage_buffers < kMinStorageBuffers) {
    return error("webgpu: {}: expected at least {} storage buffers a shader, found {}",
                 info_.text(), kMinStorageBuffers, limits_.max_storage_buffers);
  }
  std::vector<WGPUFeatureName> features;
  if (!is_plain) features.assign(kFeatures.begin(), kFeatures.end());
  std::erase_if(features, [&](WGPUFeatureName feature) {
    return api_.AdapterHasFeature(adapter_.get(), feature) == 0;
  });
  SKEIN_RETURN_IF_ERROR(request_device(limits, features));
  const auto has = [&](WGPUFeatureName feature) {
    return std::find(features.begin(), features.end(), feature) != features.end();
  };
  limits_.is_software = is_cpu();
  limits_.has_subgroups = has(kSubgroups);
  limits_.has_timestamps = has(kTimestampsInPasses);
  limits_.has_f16 = has(WGPUFeatureName_ShaderF16);
  return {};
}

Status Gpu::request_device(const WGPULimits& limits, const std::vector<WGPUFeatureName>& features) {
  // The adapter's own limits: without them the defaults hold, 128 MiB a binding.
  WGPUDeviceDescriptor descriptor = {};
  descriptor.label = view_of("skein");
  descriptor.requiredLimits = &limits;
  descriptor.requiredFeatures = features.data();
  descriptor.requiredFeatureCount = features.size();
  descriptor.deviceLostCallbackInfo.mode = WGPUCallbackMode_AllowSpontaneous;
  descriptor.deviceLostCallbackInfo.userdata1 = this;
  descriptor.deviceLostCallbackInfo.callback =
      [](const WGPUDevice*, WGPUDeviceLostReason /*reason*/, WGPUStringView message, void* self,
         void*) { static_cast<Gpu*>(self)->on_lost(text_of(message)); };
  // Without this callback the library ends the process at the first error.
  descriptor.uncapturedErrorCallbackInfo.userdata1 = this;
  descriptor.uncapturedErrorCallbackInfo.callback = [](const WGPUDevice*, WGPUErrorType type,
                                                       WGPUStringView message, void* self, void*) {
    const char* what = type == WGPUErrorType_OutOfMemory ? "out of memory: " : "";
    static_cast<Gpu*>(self)->record_error(what + text_of(message));
  };
  struct Answer {
    WGPUDevice device = nullptr;
    std::string message;
  } answer;
  WGPURequestDeviceCallbackInfo callback = {};
  callback.mode = WGPUCallbackMode_AllowSpontaneous;
  callback.userdata1 = &answer;
  callback.callback = [](WGPURequestDeviceStatus status, WGPUDevice device, WGPUStringView message,
                         void* out, void*) {
    auto& result = *static_cast<Answer*>(out);
    if (status == WGPURequestDeviceStatus_Success) result.device = device;
    result.message = text_of(message);
  };
  api_.AdapterRequestDevice(adapter_.get(), &descriptor, callback);
  if (answer.device == nullptr) {
    return error("webgpu: {}: no device: {}", info_.text(), one_line(answer.message));
  }
  device_ = {answer.device, api_.DeviceRelease};
  queue_ = {api_.DeviceGetQueue(answer.device), api_.QueueRelease};
  return {};
}

void Gpu::wait() noexcept {
  if (!lost_) api_.DevicePoll(device_.get(), 1, nullptr);
}

void Gpu::lose() noexcept {
  api_.DeviceDestroy(device_.get());
  on_lost("destroyed");  // of which the library does not tell
}

void Gpu::on_lost(std::string_view message) {
  if (closing_) return;
  lost_ = true;
  error_.clear();  // whatever it was came of this
  record_error(fmt::format("the device was lost: {}", message));
}

Status Gpu::read_mapped(WGPUBuffer buffer, std::span<std::byte> bytes) {
  if (lost_) return take_error();
  struct Answer {
    bool has_come = false, is_mapped = false;
    std::string message;
  } answer;
  WGPUBufferMapCallbackInfo callback = {};
  callback.mode = WGPUCallbackMode_AllowSpontaneous;
  callback.userdata1 = &answer;
  callback.callback = [](WGPUMapAsyncStatus status, WGPUStringView message, void* out, void*) {
    auto& result = *static_cast<Answer*>(out);
    result.has_come = true;
    result.is_mapped = status == WGPUMapAsyncStatus_Success;
    result.message = text_of(message);
  };
  api_.BufferMapAsync(buffer, WGPUMapMode_Read, 0, bytes.size(), callback);
  // Being woken costs 20 to 25 us (H200), a token of a small model takes 500: look for a while
  // first. Software adapters need the core for their own work.
  const auto until = std::chrono::steady_clock::now() + kMaxSpin;
  while (!is_cpu() && !answer.has_come && std::chrono::steady_clock::now() < until) {
    api_.DevicePoll(device_.get(), 0, nullptr);
  }
  if (!answer.has_come) wait();
  SKEIN_RETURN_IF_ERROR(take_error());
  if (!answer.is_mapped) {
    return error("webgpu: {}: could not read from the device: {}", info_.name,
                 one_line(answer.message));
  }
  const void* data = api_.BufferGetConstMappedRange(buffer, 0, bytes.size());
  if (data != nullptr) std::memcpy(bytes.data(), data, bytes.size());
  api_.BufferUnmap(buffer);
  if (data == nullptr) return error("webgpu: {}: no mapped range", info_.name);
  return take_error();
}

Status Gpu::take_error() {
  if (error_.empty()) return {};
  return error("webgpu: {}: {}", info_.name, lost_ ? error_ : std::exchange(error_, {}));
}

void Gpu::record_error(std::string message) {
  if (!error_.empty()) return;
  // An error of ours that comes back: take_error() names the device again.
  const std::string prefix = fmt::format("webgpu: {}: ", info_.name);
  if (message.starts_with(prefix)) message.erase(0, prefix.size());
  message = one_line(std::move(message));
  error_ = message.empty() ? "unknown error" : std::move(message);
}

Result<Handle<WGPUBuffer>> Gpu::create_buffer(uint64_t num_bytes, WGPUBufferUsage usage,
                                              const char* label) {
  if (num_bytes > limits_.max_buffer_bytes) {
    return error("webgpu: {}: expected a buffer of at most {} bytes, found {}", info_.name,
                 limits_.max_buffer_bytes, num_bytes);
  }
  if (lost_) return tl::unexpected(take_error().error());
  WGPUBufferDescriptor descriptor = {};
  descriptor.label = view_of(label);
  descriptor.usage = usage;
  descriptor.size = num_bytes;
  Handle<WGPUBuffer> buffer(api_.DeviceCreateBuffer(device_.get(), &descriptor),
                            api_.BufferRelease);
  SKEIN_RETURN_IF_ERROR(take_error());
  if (!buffer) return error("webgpu: {}: no buffer of {} bytes", info_.name, num_bytes);
  return buffer;
}

}  // namespace skein::webgpu
