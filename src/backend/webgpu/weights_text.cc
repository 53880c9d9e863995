#include "backend/webgpu/weights_text.h"

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
  values.set("IS_FAST", options.is_fast ? 1 : 0);
  values.set("HAS_START", has_start(dtype, options.is_fast) ? 1 : 0);
  values.set("GROUP_THREADS", options.group_threads);
  values.set("PAIR_COPIES", kPairCopies);
  values.set("NUM_PAIRS", 256 * kPairCopies);
  values.set("ZERO", number(0.0f - code_table(dtype)[0]));
  if (dtype == DType::kQ4K) SKEIN_RETURN_IF_ERROR(shader.add_file("lib/q4_k_step.wgsl", values));
  return shader.add_file("lib/code4.wgsl", values);
}

Status add_weights_text(const Tensor& tensor, uint32_t job, const Bindings& bindings,
                        const ByteRange& codes, uint64_t delta_elems, ShaderValues& values,
                        ShaderText& shader) {
  const DType dtype = tensor.dtype();
  const uint32_t vec = vector_elems(dtype);
  SKEIN_ASSIGN_OR_RETURN(const std::string offset,
                         emit_wgsl(tensor.mapping(), fmt::format("offset_{}", job)));
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
  values.set("BASE", place.offset_bytes / 16);
  values.set("DELTA", delta_elems);
  values.set("SCALED", is_quantized(dtype) ? 1 : 0);
  values.set("IS_F32", dtype == DType::kF32 ? 1 : 0);
  values.set("IS_INT8", dtype == DType::kInt8 ? 1 : 0);
  values.set("IS_CODE4", element_bits(dtype) == 4 ? 1 : 0);
  values.set("IS_Q4K", dtype == DType::kQ4K ? 1 : 0);
  values.set("HAS_LOW", dtype == DType::kInt8 || dtype == DType::kQ4K ? 1 : 0);
  values.set("BLOCK", step_cols(dtype));
  values.set("PAIR_COPIES", kPairCopies);
  if (is_quantized(dtype)) {
    SKEIN_ASSIGN_OR_RETURN(const std::string scale_offset,
                           emit_wgsl(tensor.scales_mapping(), fmt::format("scale_offset_{}", job)));
    shader.add_text(scale_offset, "scales of layout " + to_string(tensor.layout()));
    const Bindings::Place scales = bindings.weights(scales_range(tensor));
    const bool is_quad = vector_axis(tensor.scales_mapping(), 4) == VectorAxis::kCols;
    values.set("SCALE_IS_QUAD", dtype == DType::kQ4K && is_quad ? 1 : 0);
    values.set("S", scales.name);
    values.set("SCALE_BASE", scales.offset_bytes / 16);
  }
  return shader.add_file("lib/weights.wgsl", values);
}

}  // namespace skein::webgpu
