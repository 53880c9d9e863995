#include "backend/webgpu/halves.h"

#include <algorithm>

#include "base/bits.h"

namespace skein::webgpu {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kMaxTileTokens = 64;
constexpr uint64_t kHeaderElems = 16;  // of a row: the exponent, and the alignment of what follows

bool is_same(const Activation& a, const Activation& b) {
  return a.buffer == b.buffer && a.offset_elems == b.offset_elems &&
         a.stride_elems == b.stride_elems && a.num_cols == b.num_cols;
}

}  // namespace

Halves::Halves(std::span<const Activation* const> activations, uint32_t num_tokens) {
  const uint64_t rows = round_up<uint64_t>(num_tokens, kMaxTileTokens);
  for (const Activation* activation : activations) {
    const bool is_known = std::any_of(items_.begin(), items_.end(), [&](const Item& item) {
      return is_same(*item.activation, *activation);
    });
    if (is_known) continue;
    const uint64_t bytes = rows * (kHeaderElems + uint64_t{2} * activation->num_cols) * 2;
    items_.push_back({activation, num_bytes_, num_bytes_ + bytes});
    num_bytes_ = round_up<uint64_t>(num_bytes_ + bytes, kBufferGrainBytes);
  }
}

ByteRange Halves::range_of(const Activation& activation) const {
  const auto found = std::find_if(items_.begin(), items_.end(), [&](const Item& item) {
    return is_same(*item.activation, activation);
  });
  CHECK(found != items_.end());
  return {buffer_.get(), found->begin, found->end};
}

Result<Kernel> halves_kernel(const Halves& halves, uint32_t num_tokens, const GpuLimits& limits) {
  Kernel kernel{
      "halves", {}, Bindings(limits), num_tokens, static_cast<uint32_t>(halves.items().size())};
  ShaderValues values;
  values.set("GROUP_THREADS", kThreads);
  values.set("PARTIALS", kThreads);
  values.set("HAS_SUBGROUPS", 1);
  SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("lib/reduce.wgsl", values));
  SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("lib/largest.wgsl", values));
  std::string branches;
  for (size_t i = 0; i < halves.items().size(); ++i) {
    const Halves::Item& item = halves.items()[i];
    SKEIN_ASSIGN_OR_RETURN(const Bindings::Place x,
                           kernel.bindings.activation(*item.activation, num_tokens, Access::kRead));
    SKEIN_ASSIGN_OR_RETURN(const Bindings::Place out,
                           kernel.bindings.range(*halves.buffer(), item.begin, item.end,
                                                 Access::kWrite, "array<u32>"));
    values.set("J", i);
    values.set("X", x.name);
    values.set("X_OFFSET", x.offset_bytes / sizeof(float));
    values.set("X_STRIDE", item.activation->stride_elems);
    values.set("COLS", item.activation->num_cols);
    values.set("HALVES", out.name);
    SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("halves.wgsl", values));
    branches += fmt::format("  if (group.y == {0}u) {{ halve_{0}(group.x, lane); }}\n", i);
  }
  kernel.shader.add_text("fn run(group: vec3<u32>, lane: u32) {\n" + branches + "}\n", "halves.cc");
  SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("lib/main.wgsl", values));
  return kernel;
}

}  // namespace skein::webgpu
