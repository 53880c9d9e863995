#include "backend/webgpu/read.h"

#include <algorithm>

#include "base/bits.h"

namespace skein::webgpu {
namespace {

constexpr uint64_t kGroupBytes = 32768;  // 256 threads, 8 loads of 16 B

}  // namespace

uint64_t read_bytes(const GpuLimits& limits) {
  const uint64_t wanted = limits.is_software ? uint64_t{64} << 20 : uint64_t{1} << 30;
  return std::min(wanted, limits.max_binding_bytes) / kGroupBytes * kGroupBytes;
}

Result<Kernel> read_kernel(const GpuBuffer& data, const GpuBuffer& out, const GpuLimits& limits) {
  Kernel kernel{"read", {}, Bindings(limits), 1, 1};
  const uint64_t num_bytes = read_bytes(limits);
  SKEIN_ASSIGN_OR_RETURN(
      const Bindings::Place in,
      kernel.bindings.range(data, 0, num_bytes, Access::kRead, "array<vec4<u32>>"));
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place sink,
                         kernel.bindings.range(out, 0, 256, Access::kWrite, "array<f32>"));
  const uint64_t groups = num_bytes / kGroupBytes;
  kernel.x = static_cast<uint32_t>(std::min<uint64_t>(groups, limits.max_groups));
  kernel.y = static_cast<uint32_t>(ceil_div<uint64_t>(groups, kernel.x));
  ShaderValues values;
  values.set("DATA", in.name);
  values.set("OUT", sink.name);
  values.set("ELEMS", num_bytes / 16);
  values.set("GROUPS_X", kernel.x);
  SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("read.wgsl", values));
  return kernel;
}

}  // namespace skein::webgpu
