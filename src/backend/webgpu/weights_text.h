// Weights in shaders: the text that reads a tensor, whatever its dtype and layout.
//
// Goals: index functions come from layout/, dtypes from lib/plain.wgsl, lib/int8.wgsl and
// lib/code4.wgsl. Non-goals: what is done with the weights.
#pragma once

#include "backend/webgpu/bindings.h"
#include "backend/webgpu/shader_library.h"
#include "tensor/tensor.h"

namespace skein::webgpu {

// A number as the text of an f32.
std::string number(float value);

// Everything about a tensor that lib/weights.wgsl wants to know, under the number `job`, with its
// emitted index functions; appended to `shader`. `delta_elems` is taken from every offset.
Status add_weights_text(const Tensor& tensor, uint32_t job, const Bindings& bindings,
                        const ByteRange& codes, uint64_t delta_elems, ShaderValues& values,
                        ShaderText& shader);
// How often the values of all pairs of four-bit codes lie in workgroup memory, for products of f16.
inline constexpr uint32_t kPairCopies = 16;
inline constexpr uint64_t kPairTableBytes = 256 * kPairCopies * 4;

struct DTypeText {
  bool is_fast = false;  // with pairs of f16 for four-bit codes
  uint32_t group_threads = 0;
};

// Whether the values of codes are looked up in workgroup memory.
bool has_table(DType dtype);
// Whether a shader must call {{DTYPE}}_start(lane) before it reads codes of the dtype.
bool has_start(DType dtype, bool is_fast);

// What the dtype's words mean; once a shader.
Status add_dtype_text(DType dtype, const DTypeText& options, ShaderText& shader);

}  // namespace skein::webgpu
