// Matrix products on the device: several jobs in one dispatch, each y = epilogue(W x) for one token
// or many.
//
// Goals: every dtype in every layout, by the emitted index functions; what does not depend on each
// other shares a dispatch, since each dispatch that waits for another costs about 3 us (H200).
// Three forms for one token, by what a sixteen-byte load brings (vector_axis.h), and one for many.
// Non-goals: choosing layouts.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "backend/rwkv7.h"
#include "backend/webgpu/kernels.h"

namespace skein::webgpu {

enum class Epilogue : uint8_t {
  kStore,          // y = s
  kAdd,            // y += s
  kTanh,           // y = tanh(s)
  kSigmoid,        // y = sigmoid(s)
  kBiasSigmoid,    // y = sigmoid(bias + s)
  kDecay,          // y = exp(kDecayScale * sigmoid(bias + s))
  kValueResidual,  // y += (other - y) * sigmoid(bias + s)
  kSquaredRelu,    // y = max(s, 0)^2
};

class Halves;

struct DenseJob {
  const Tensor* weights = nullptr;  // none: y = x, a copy
  const Activation* x = nullptr;
  const Activation* y = nullptr;
  Epilogue epilogue = Epilogue::kStore;
  const Tensor* bias = nullptr;       // [1][rows] f32
  const Activation* other = nullptr;  // as y
  bool is_sparse = false;             // most of x is zero
};

struct DenseBatch {
  uint32_t num_tokens = 1;
  // For many tokens: the buffer that says how many there are, and where in it: "[0].x".
  const GpuBuffer* batch = nullptr;
  std::string_view count_field = "[0].x";
  const Halves* halves = nullptr;  // of every x, where wants_tensor_cores()
};

// Whether the jobs run on tensor cores, by way of halves of their inputs.
bool wants_tensor_cores(std::span<const DenseJob> jobs, uint32_t num_tokens,
                        const GpuLimits& limits);

// The dispatches of the jobs: one, unless they need more bindings than the device has or a matrix
// is larger than one binding may be. Errors: a matrix that is too large and cannot be split by
// rows.
Result<std::vector<Kernel>> dense_kernels(std::string_view label, std::span<const DenseJob> jobs,
                                          const DenseBatch& batch, const GpuLimits& limits);

// Everything about a tensor that lib/weights.wgsl wants to know, under the number `job`, with its
// emitted index functions; appended to `shader`. `delta_elems` is taken from every offset.
Status add_weights_text(const Tensor& tensor, uint32_t job, const Bindings& bindings,
                        const ByteRange& codes, uint64_t delta_elems, ShaderValues& values,
                        ShaderText& shader);
// What the dtype's words mean; once a shader.
Status add_dtype_text(DType dtype, ShaderText& shader);

}  // namespace skein::webgpu
