#include "backend/webgpu/draw.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "backend/webgpu/weights_text.h"
#include "base/bits.h"

namespace skein::webgpu {
namespace {

constexpr uint32_t kMaxThreads = 1024, kMinThreads = 256;
// Workgroup memory that the larger workgroup needs: partial sums, counts and the list.
constexpr uint32_t kLargeGroupBytes = 24576;
constexpr uint32_t kListItems = 1024;
// How far below the peak the list looks first, in nats: beyond are less than a tenth of a per mille
// of the peak's weight each.
constexpr float kReach = 10;
constexpr float kNoReach = 1e30f;

}  // namespace

Result<Draws> DrawMemory::make_draws(const Dimensions& dims, const Tensor& emb,
                                     DeviceMemory& memory, const GpuLimits& limits) {
  if (emb.span_bytes() + kBufferGrainBytes > limits.max_binding_bytes) {
    return error("webgpu: expected an embedding of at most {} bytes, found {}",
                 limits.max_binding_bytes, emb.span_bytes());
  }
  if (emb.buffer()->host_data() != nullptr && source_ != emb.buffer()) {
    SKEIN_ASSIGN_OR_RETURN(auto buffer, memory.allocate(emb.span_bytes()));
    SKEIN_RETURN_IF_ERROR(memory.upload(*buffer, 0, std::span(emb.host_data(), emb.span_bytes())));
    copy_ = Tensor(std::move(buffer), 0, emb.dtype(), emb.mapping());
    source_ = emb.buffer();
  }
  constexpr uint64_t kWordBytes = sizeof(uint32_t);
  SKEIN_ASSIGN_OR_RETURN(auto buffer,
                         memory.allocate((uint64_t{kDrawCountsAt} + dims.num_vocab) * kWordBytes));
  const std::vector<float> unseen(dims.num_vocab, -1.0f);
  SKEIN_RETURN_IF_ERROR(
      memory.upload(*buffer, kDrawCountsAt * kWordBytes, std::as_bytes(std::span(unseen))));
  return Draws{std::move(buffer), kDrawSlots, 0, kDrawUniformsAt * kWordBytes,
               kDrawIdsAt * kWordBytes};
}

void add_to_key(const SamplerOptions& options, StepKey& key) {
  key.add(options.top_k);
  for (const float value :
       {options.temperature, options.top_p, options.min_p, options.presence_penalty,
        options.frequency_penalty, options.penalty_decay}) {
    key.add(std::bit_cast<uint32_t>(value));
  }
}

Result<Kernel> draw_kernel(const Dimensions& dims, const SamplerOptions& options,
                           const Activation& logits, const GpuBuffer& draws,
                           const GpuLimits& limits) {
  Kernel kernel{"draw", {}, Bindings(limits), 1, 1};
  kernel.checks_bounds = true;
  ShaderValues values;
  SKEIN_ASSIGN_OR_RETURN(const Bindings::Place in,
                         kernel.bindings.activation(logits, 1, Access::kRead));
  SKEIN_ASSIGN_OR_RETURN(
      const Bindings::Place out,
      kernel.bindings.range(draws, 0, draws.num_bytes(), Access::kWrite, "array<u32>"));
  // Software runs the threads of a workgroup one after the other: more of them are more barriers.
  const bool is_large = limits.max_group_threads >= kMaxThreads &&
                        limits.max_group_bytes >= kLargeGroupBytes && !limits.is_software;
  const uint32_t threads = is_large ? kMaxThreads : kMinThreads;
  const bool ranks = options.top_k != 0 || options.top_p < 1;
  const float min_p_reach = options.min_p > 0 ? -std::log(options.min_p) : kNoReach;
  values.set("LOGITS", in.name);
  values.set("LOGITS_OFFSET", in.offset_bytes / sizeof(float));
  values.set("DRAWS", out.name);
  values.set("IDS_AT", kDrawIdsAt);
  values.set("UNIFORMS_AT", kDrawUniformsAt);
  values.set("COUNTS_AT", kDrawCountsAt);
  values.set("SLOTS", kDrawSlots);
  values.set("NUM_VOCAB", dims.num_vocab);
  values.set("GROUP_THREADS", threads);
  values.set("PARTIALS", 2 * threads);
  values.set("SCAN_TYPE", "f32");
  values.set("PER_THREAD", ceil_div(dims.num_vocab, threads));
  values.set("LIST", kListItems);
  values.set("HAS_SUBGROUPS", limits.has_subgroups ? 1 : 0);
  values.set("HAS_PENALTIES",
             options.presence_penalty != 0 || options.frequency_penalty != 0 ? 1 : 0);
  values.set("PRESENCE", number(options.presence_penalty));
  values.set("FREQUENCY", number(options.frequency_penalty));
  values.set("DECAY", number(options.penalty_decay));
  values.set("IS_GREEDY", options.temperature == 0 ? 1 : 0);
  values.set("SCALE", number(options.temperature == 0 ? 1.0f : 1 / options.temperature));
  values.set("HAS_RANKS", ranks ? 1 : 0);
  values.set("TOP_K", options.top_k);
  values.set("HAS_TOP_P", options.top_p < 1 ? 1 : 0);
  values.set("TOP_P", number(options.top_p));
  values.set("REACH", number(std::min(kReach, min_p_reach)));
  values.set("MIN_P_REACH", number(min_p_reach));
  SKEIN_RETURN_IF_ERROR(kernel.shader.add_file("draw.wgsl", values));
  return kernel;
}

}  // namespace skein::webgpu
