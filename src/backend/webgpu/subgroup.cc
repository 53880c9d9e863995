#include "backend/webgpu/subgroup.h"

#include <algorithm>
#include <array>

#include "backend/webgpu/device_memory.h"
#include "backend/webgpu/kernels.h"

namespace skein::webgpu {

Result<uint32_t> measure_subgroup(const std::shared_ptr<Gpu>& gpu) {
  Commands commands(gpu);
  Kernels kernels(gpu, commands);
  DeviceMemory memory(gpu, commands, [&](uint64_t id) { kernels.release(id); });
  std::array<uint32_t, 128> sizes = {};
  SKEIN_ASSIGN_OR_RETURN(const std::shared_ptr<GpuBuffer> out, memory.allocate(sizeof(sizes)));
  const auto make = [&]() -> Result<std::vector<Kernel>> {
    Kernel kernel{"subgroup", {}, Bindings(gpu->limits())};
    SKEIN_ASSIGN_OR_RETURN(
        const Bindings::Place place,
        kernel.bindings.range(*out, 0, sizeof(sizes), Access::kWrite, "array<u32>"));
    ShaderValues values;
    values.set("OUT", place.name);
    SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("subgroup.wgsl", values));
    std::vector<Kernel> made;
    made.push_back(std::move(kernel));
    return made;
  };
  SKEIN_RETURN_IF_ERROR(kernels.run(StepKey(0), make));
  SKEIN_RETURN_IF_ERROR(memory.download(*out, 0, std::as_writable_bytes(std::span(sizes))));
  const auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
  return *least == *most ? *most : 0;
}

}  // namespace skein::webgpu
