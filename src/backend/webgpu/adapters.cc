// The adapters of this machine, as webgpu_backend.h speaks of them.
#include "backend/webgpu/gpu.h"
#include "backend/webgpu/webgpu_backend.h"

namespace skein {

using webgpu::AdapterInfo;
using webgpu::list_adapters;

Result<std::vector<std::string>> webgpu_adapters() {
  SKEIN_ASSIGN_OR_RETURN(const std::vector<AdapterInfo> infos, list_adapters());
  std::vector<std::string> lines;
  for (const AdapterInfo& info : infos) lines.push_back(info.text());
  return lines;
}

Status find_webgpu_gpu() {
  SKEIN_ASSIGN_OR_RETURN(const std::vector<AdapterInfo> infos, list_adapters());
  std::string found;
  for (const AdapterInfo& info : infos) {
    if (info.type == "discrete GPU" || info.type == "integrated GPU") return {};
    found += (found.empty() ? "" : "; ") + info.text();
  }
  return error("webgpu: expected a GPU, found {}",
               found.empty() ? "no adapter (is there a Vulkan driver?)" : found);
}

}  // namespace skein
