// The values that the product's shaders are filled in with: how the threads of a workgroup divide a
// part among them.
//
// Goals: everything that follows from a part's form and the workgroup that all parts share.
// Non-goals: bindings (dense.cc), rules for forms (forms.h).
#pragma once

#include <algorithm>

#include "backend/webgpu/dense_parts.h"
#include "backend/webgpu/shader_library.h"

namespace skein::webgpu {

// The smallest subgroup that the places of sums are made for.
inline constexpr uint32_t kMinSubgroup = 4;

// What all parts of a shader share.
struct DenseShape {
  uint32_t num_tokens = 1;
  uint32_t group_threads = 0;
  uint64_t group_x_quads = 0;  // of x in workgroup memory, for kLanes; 0: it is read as it lies
  bool has_few_tail = false;   // kFew: some threads have no cols in the last step
  uint32_t pair_copies = 0;    // kLanes multiplies pairs of f16, from a table with so many copies

  // Of a row.
  uint32_t lanes_of(const Part& part) const { return std::min(part.lanes, group_threads); }
};

uint64_t rows_of_group(const Part& part, const DenseShape& shape);

// `values` has those of the part's weights and activations.
void set_form(const Part& part, const DenseShape& shape, const GpuLimits& limits,
              ShaderValues& values);

}  // namespace skein::webgpu
