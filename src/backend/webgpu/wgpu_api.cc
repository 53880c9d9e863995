#include "backend/webgpu/wgpu_api.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <vector>

namespace skein::webgpu {
namespace {

namespace fs = std::filesystem;

fs::path program_folder() {
  std::array<char, PATH_MAX> path{};
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  if (length <= 0) return {};
  return fs::path(std::string(path.data(), static_cast<size_t>(length))).parent_path();
}

std::vector<std::string> candidates() {
  if (const char* named = std::getenv("SKEIN_WGPU_LIBRARY"); named != nullptr && *named != '\0') {
    return {named};
  }
  std::vector<std::string> paths;
  if (const fs::path folder = program_folder(); !folder.empty()) {
    for (const fs::path& path :
         {folder / SKEIN_WGPU_LIBRARY_NAME, folder / "../lib/skein" / SKEIN_WGPU_LIBRARY_NAME}) {
      std::error_code ignored;
      if (fs::exists(path, ignored)) paths.push_back(path.string());
    }
  }
  if constexpr (!std::string_view(SKEIN_WGPU_LIBRARY).empty()) {
    paths.emplace_back(SKEIN_WGPU_LIBRARY);
  }
  paths.emplace_back(SKEIN_WGPU_LIBRARY_NAME);
  return paths;
}

// The loader's first line, without its habit of naming the file twice.
std::string loader_error() {
  const char* message = dlerror();
  return message == nullptr ? "unknown error" : message;
}

// Mesa's layer that sorts devices asks a Wayland server which one is shown on; without a session it
// writes an error for each instance to stderr. We list all devices and choose ourselves.
void quiet_device_layer() {
  if (std::getenv("XDG_RUNTIME_DIR") == nullptr) setenv("NODEVICE_SELECT", "1", 0);
}

Result<WgpuApi> load() {
  quiet_device_layer();
  std::string tried;
  void* library = nullptr;
  for (const std::string& path : candidates()) {
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) break;
    tried = loader_error();
  }
  if (library == nullptr) {
    return error(
        "webgpu: expected wgpu-native's library ({}; $SKEIN_WGPU_LIBRARY may name it), found none: "
        "{}",
        SKEIN_WGPU_LIBRARY_NAME, tried);
  }
  WgpuApi api;
#define SKEIN_WGPU_FIND(name)                                                                \
  api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, "wgpu" #name));             \
  if (api.name == nullptr) {                                                                 \
    return error("webgpu: expected the function wgpu{} in {}, found none: another version?", \
                 #name, SKEIN_WGPU_LIBRARY_NAME);                                            \
  }
  SKEIN_WGPU_FUNCTIONS(SKEIN_WGPU_FIND)
#undef SKEIN_WGPU_FIND
  return api;
}

}  // namespace

Result<const WgpuApi*> load_wgpu() {
  static const Result<WgpuApi> api = load();
  if (!api) return tl::unexpected(api.error());
  return &*api;
}

}  // namespace skein::webgpu
