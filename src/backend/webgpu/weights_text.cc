#include "backend/webgpu/weights_text.h"

#include <algorithm>

#include "backend/webgpu/vector_axis.h"
#include "layout/wgsl.h"
#include "tensor/codec.h"

namespace skein::webgpu {

std::string number(float value) { return fmt::format("{:.9e}", value); }

bool has_table(DType dtype) { return dtype == DType::kNF4 || dtype == DType::kSF4; }

bool has_start(DType dtype, bool is_fast) {
  return has_table(dtype) || (is_fast && element_bits(dtype) == 4);
}

Status add_dtype_text(DType dtype, const DTypeText& options, ShaderText& shader) {
  ShaderValues values;
  values.set("DTYPE", to_string(dtype));
  values.set("IS_F32", dtype == DType::kF32 ? 1 : 0);
  values.set("IS_F16", dtype == DType::kF16 ? 1 : 0);
  values.set("IS_BF16", dtype == DType::kBF16 ? 1 : 0);
  if (dtype == DType::kInt8) return shader.add_file("lib/int8.wgsl", values);
  if (dtype == DType::kQ8_0) return shader.add_file("lib/q8_0.wgsl", values);
  if (!is_quantized(dtype)) return shader.add_file("lib/plain.wgsl", values);
  std::string codes;
  for (const float code : code_table(dtype)) {
    codes += (codes.empty() ? "" : ", ") + number(code);
  }
  values.set("CODES", codes);
  values.set("IS_TABLE", has_table(dtype) ? 1 : 0);
  const bool is_fast = options.pair_copies > 0;
  values.set("IS_FAST", is_fast ? 1 : 0);
  values.set("HAS_START", has_start(dtype, is_fast) ? 1 : 0);
  values.set("GROUP_THREADS", options.group_threads);
  values.set("PAIR_COPIES", options.pair_copies);
  // Fours of copies, each one store; threads share those of a pair.
  const uint32_t fours = options.pair_copies / 4;
  const uint32_t parts = std::clamp(options.group_threads / 256, 1u, std::max(fours, 1u));
  values.set("PAIR_FOURS", fours);
  values.set("NUM_FOURS", 256 * fours);
  values.set("FILL_PARTS", parts);
  values.set("FILL_FOURS", fours / parts);
  values.set("ZERO", number(0.0f - code_table(dtype)[0]));
  if (dtype == DType::kQ4K) SKEIN_RETURN_IF_ERROR(shader.add_file("lib/q4_k_step.wgsl", values));
  return shader.add_file("lib/code4.wgsl", values);
}

Result<Places> add_weights_text(const Tensor& tensor, std::string_view job,
                                const Bindings& bindings, const ByteRange& codes,
                                uint64_t delta_elems, ShaderValues& values, ShaderText& shader) {
  const DType dtype = tensor.dtype();
  const uint32_t vec = vector_elems(dtype);
  const bool names_stride =
      tensor.layout().kind == LayoutKind::kRowMajor && !is_quantized(dtype) && tensor.rows() > 1;
  const std::string function = fmt::format("offset_{}", job);
  SKEIN_ASSIGN_OR_RETURN(
      const std::string offset,
      names_stride ? emit_wgsl_by_stride(tensor.mapping(), function, fmt::format("stride_{}", job))
                   : emit_wgsl(tensor.mapping(), function));
  shader.add_text(offset, "layout " + to_string(tensor.layout()));
  const Bindings::Place place = bindings.weights(codes);
  values.set("J", job);
  values.set("DTYPE", to_string(dtype));
  values.set("LAYOUT", to_string(tensor.layout()));
  values.set("ROWS", tensor.rows());
  values.set("COLS", tensor.cols());
  values.set("VEC", vec);
  values.set("QUADS", vec / 4);
  values.set("PER_WORD", vec / 4);
  values.set("W", place.name);
  Places places = {{"base_JOB", place.offset_bytes / 16}, {"delta_JOB", delta_elems}};
  if (names_stride) places.emplace_back("stride_JOB", tensor.mapping()(1, 0));
  values.set("SCALED", is_quantized(dtype) ? 1 : 0);
  values.set("IS_F32", dtype == DType::kF32 ? 1 : 0);
  values.set("IS_INT8", dtype == DType::kInt8 ? 1 : 0);
  values.set("IS_CODE4", element_bits(dtype) == 4 ? 1 : 0);
  values.set("IS_Q4K", dtype == DType::kQ4K ? 1 : 0);
  values.set("HAS_LOW", dtype == DType::kInt8 || dtype == DType::kQ4K ? 1 : 0);
  values.set("BLOCK", step_cols(dtype));
  if (is_quantized(dtype)) {
    SKEIN_ASSIGN_OR_RETURN(const std::string scale_offset,
                           emit_wgsl(tensor.scales_mapping(), fmt::format("scale_offset_{}", job)));
    shader.add_text(scale_offset, "scales of layout " + to_string(tensor.layout()));
    const Bindings::Place scales = bindings.weights(scales_range(tensor));
    const bool is_quad = vector_axis(tensor.scales_mapping(), 4) == VectorAxis::kCols;
    values.set("SCALE_IS_QUAD", dtype == DType::kQ4K && is_quad ? 1 : 0);
    values.set("S", scales.name);
    places.emplace_back("scale_base_JOB", scales.offset_bytes / 16);
  }
  SKEIN_RETURN_IF_ERROR(shader.add_file("lib/weights.wgsl", values));
  return places;
}

Status add_only_weights_text(const Tensor& tensor, const Bindings& bindings, ShaderValues& values,
                             ShaderText& shader) {
  Body body;
  SKEIN_ASSIGN_OR_RETURN(body.places, add_weights_text(tensor, "JOB", bindings, codes_range(tensor),
                                                       0, values, body.text));
  add_body(body, "0", shader);
  values.set("J", 0);
  return {};
}

}  // namespace skein::webgpu
