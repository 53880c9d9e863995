// Weights in shaders: the text that reads a tensor, whatever its dtype and layout.
//
// Goals: index functions come from layout/, dtypes from lib/plain.wgsl, lib/int8.wgsl and
// lib/code4.wgsl. Non-goals: what is done with the weights.
#pragma once

#include <string_view>

#include "backend/webgpu/bindings.h"
#include "backend/webgpu/bodies.h"
#include "backend/webgpu/shader_library.h"
#include "tensor/tensor.h"

namespace skein::webgpu {

// A number as the text of an f32.
std::string number(float value);

// Everything about a tensor that lib/weights.wgsl wants to know, under the name `job`, with its
// emitted index functions; appended to `shader`. `codes`: all of the tensor, or the part that
// begins `delta_elems` after it. Returns where the tensor lies in its bindings: base_JOB and
// scale_base_JOB in sixteen bytes, delta_JOB, which is taken from every offset, and of a row_major
// matrix that is not quantized stride_JOB, the distance of its rows.
Result<Places> add_weights_text(const Tensor& tensor, std::string_view job,
                                const Bindings& bindings, const ByteRange& codes,
                                uint64_t delta_elems, ShaderValues& values, ShaderText& shader);
// The same for a shader that reads one tensor: with its places as constants.
Status add_only_weights_text(const Tensor& tensor, const Bindings& bindings, ShaderValues& values,
                             ShaderText& shader);

// The table of all pairs of four-bit codes in workgroup memory, for products of f16.
constexpr uint64_t pair_table_bytes(uint32_t copies) { return uint64_t{256} * copies * 4; }

struct DTypeText {
  // How often that table has every pair, a multiple of four; 0: no products of f16.
  uint32_t pair_copies = 0;
  uint32_t group_threads = 0;
};

// Whether the values of codes are looked up in workgroup memory.
bool has_table(DType dtype);
// Whether a shader must call {{DTYPE}}_start(lane) before it reads codes of the dtype.
bool has_start(DType dtype, bool is_fast);

// What the dtype's words mean; once a shader.
Status add_dtype_text(DType dtype, const DTypeText& options, ShaderText& shader);

}  // namespace skein::webgpu
