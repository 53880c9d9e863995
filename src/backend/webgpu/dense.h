// Matrix products on the device: several jobs in one dispatch, each y = epilogue(W x) for one token
// or many.
//
// Goals: every dtype in every layout, by the emitted index functions; what does not depend on each
// other shares a dispatch, since each dispatch that waits for another costs about 3 us (H200).
// dense_parts.h says what shader a product takes, forms.h how threads divide it.
// Non-goals: choosing layouts.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "backend/kernel_form.h"
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

struct DenseJob {
  const Tensor* weights = nullptr;  // none: y = x, a copy
  const Activation* x = nullptr;
  const Activation* y = nullptr;
  Epilogue epilogue = Epilogue::kStore;
  const Tensor* bias = nullptr;       // [1][rows] f32
  const Activation* other = nullptr;  // as y
  bool is_sparse = false;             // most of x is zero
  KernelForm form = {};
};

struct DenseBatch {
  uint32_t num_tokens = 1;
  // For many tokens: the buffer that says how many there are, and where in it: "[0].x".
  const GpuBuffer* batch = nullptr;
  std::string_view count_field = "[0].x";
  const GpuBuffer* scratch = nullptr;  // dense_scratch_bytes() or more
};

// What dense_kernels() wants of scratch memory: sums of parts of the cols.
Result<uint64_t> dense_scratch_bytes(std::span<const DenseJob> jobs, uint32_t num_tokens,
                                     const GpuLimits& limits);

// The dispatches of the jobs: one, unless they need more bindings than the device has, a matrix is
// larger than one binding may be, or a software device has many tokens. Errors: a matrix that is
// too large and cannot be split by rows.
Result<std::vector<Kernel>> dense_kernels(std::string_view label, std::span<const DenseJob> jobs,
                                          const DenseBatch& batch, const GpuLimits& limits);

}  // namespace skein::webgpu
