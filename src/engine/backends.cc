#include "engine/backends.h"

#include <fmt/ranges.h>

#include <array>
#include <filesystem>
#include <system_error>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/cpu_target.h"
#include "backend/reference/reference_backend.h"
#ifdef SKEIN_HAS_WEBGPU
#include "backend/webgpu/webgpu_backend.h"
#endif

namespace skein {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"auto", "reference", "cpu", "webgpu"};

#ifdef SKEIN_HAS_WEBGPU
Result<std::unique_ptr<Backend>> make_webgpu(std::optional<uint32_t> adapter, Precision precision) {
  return make_webgpu_backend({.adapter = adapter, .precision = precision});
}
Result<std::vector<std::string>> find_adapters() { return webgpu_adapters(); }
constexpr bool kHasWebGpu = true;
Status find_usable_gpu() { return find_webgpu_gpu(); }
#else
Result<std::unique_ptr<Backend>> make_webgpu(std::optional<uint32_t>, Precision) {
  return error("backend webgpu: this program was built without it (wgpu-native was not there)");
}
Result<std::vector<std::string>> find_adapters() { return std::vector<std::string>(); }
constexpr bool kHasWebGpu = false;
Status find_usable_gpu() { return {}; }
#endif

// A look at the device files costs nothing; a look through the drivers takes 50 ms and starts their
// threads. A card without a render node shows pictures and computes nothing: a server's console.
bool may_have_gpu([[maybe_unused]] const std::string& devices) {
#ifdef __linux__
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (fs::exists(fs::path(devices) / "nvidia0", ignored)) return true;
  for (fs::directory_iterator entry(fs::path(devices) / "dri", ignored), end; entry != end;
       entry.increment(ignored)) {
    if (entry->path().filename().string().starts_with("renderD")) return true;
  }
  return false;
#else
  return true;
#endif
}

}  // namespace

std::span<const std::string_view> backend_names() noexcept { return kNames; }

Result<std::unique_ptr<Backend>> make_backend(std::string_view name, uint32_t num_threads,
                                              Precision precision,
                                              std::optional<uint32_t> adapter) {
  if (name == "reference") return make_reference_backend();
  if (name == "webgpu") return make_webgpu(adapter, precision);
  if (name == "auto" || name == "cpu") {
    return make_cpu_backend({.num_threads = num_threads, .precision = precision, .target = ""});
  }
  return error("backend: expected one of {}, found '{}'", fmt::join(kNames, ", "), name);
}

std::vector<std::string> gpu_adapters() {
  return find_adapters().value_or(std::vector<std::string>());
}

Result<bool> find_gpu(const std::string& devices) {
  if (!kHasWebGpu || !may_have_gpu(devices)) return false;
  SKEIN_RETURN_IF_ERROR(find_usable_gpu());
  return true;
}

Result<ChosenBackend> choose_backend(std::string_view name, uint32_t num_threads,
                                     Precision precision, std::optional<uint32_t> adapter) {
  ChosenBackend chosen;
  if (name != "auto") {
    SKEIN_ASSIGN_OR_RETURN(chosen.backend, make_backend(name, num_threads, precision, adapter));
    return chosen;
  }
  const Result<bool> has_gpu = adapter ? true : find_gpu();
  if (has_gpu && *has_gpu) {
    Result<std::unique_ptr<Backend>> gpu = make_backend("webgpu", num_threads, precision, adapter);
    if (gpu) {
      chosen.backend = *std::move(gpu);
      return chosen;
    }
    chosen.warning = cpu_warning(gpu.error().message);
  } else if (!has_gpu) {
    chosen.warning = cpu_warning(has_gpu.error().message);
  }
  SKEIN_ASSIGN_OR_RETURN(chosen.backend, make_backend("cpu", num_threads, precision));
  return chosen;
}

std::string cpu_warning(std::string_view reason) {
  return fmt::format("backend auto: the CPU, not a GPU: {}", reason);
}

std::vector<std::string_view> cpu_targets() { return supported_cpu_targets(); }
std::string_view cpu_target() noexcept { return cpu_target_name(); }

}  // namespace skein
