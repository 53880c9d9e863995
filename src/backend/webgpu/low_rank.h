// project_out inside the wkv kernel: where every run has one token, a head's workgroup makes w, a,
// g and v of its channels itself. One dispatch that waits for another is saved, about 3 us a layer.
//
// Goals: the same sums as the dispatch of its own. Non-goals: runs of several tokens, quantized
// low-rank matrices, devices with small workgroups: project_out has a dispatch there.
#pragma once

#include <vector>

#include "backend/rwkv7.h"
#include "backend/webgpu/bindings.h"
#include "backend/webgpu/gpu.h"
#include "backend/webgpu/kernels.h"
#include "backend/webgpu/shader_library.h"

namespace skein::webgpu {

bool fuses_low_rank(const LayerArgs& args, const GpuLimits& limits);

// The weights that head_inputs() reads.
void add_low_rank_ranges(const LayerArgs& args, std::vector<ByteRange>& ranges);

// Adds head_inputs(head, token, lane); `values` has where v is.
Status add_low_rank(const LayerArgs& args, const GpuLimits& limits, Bindings& bindings,
                    ShaderValues& values, ShaderText& shader);

// What the step depends on beside what the wkv kernel does.
void add_low_rank_key(const LayerArgs& args, StepKey& key);

}  // namespace skein::webgpu
