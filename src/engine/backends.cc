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
bool finds_gpu() { return has_webgpu_gpu(); }
#else
Result<std::unique_ptr<Backend>> make_webgpu(std::optional<uint32_t>, Precision) {
  return error("backend webgpu: this program was built without it (wgpu-native was not there)");
}
Result<std::vector<std::string>> find_adapters() { return std::vector<std::string>(); }
bool finds_gpu() { return false; }
#endif

// A look at the device files costs nothing; a look through the drivers takes 50 ms and starts their
// threads.
bool may_have_gpu() {
#ifdef __linux__
  std::error_code ignored;
  return std::filesystem::exists("/dev/dri", ignored) ||
         std::filesystem::exists("/dev/nvidia0", ignored);
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

bool has_gpu() { return may_have_gpu() && finds_gpu(); }

std::vector<std::string_view> cpu_targets() { return supported_cpu_targets(); }
std::string_view cpu_target() noexcept { return cpu_target_name(); }

}  // namespace skein
