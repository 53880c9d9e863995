// The epilogues of the dense steps: what happens to finished outputs while they are in L1
// (dense.h).
//
// Every function here is element by element, so results depend neither on the ranges nor on the
// number of threads.
#pragma once

#include "backend/cpu/dense.h"
#include "backend/rwkv7.h"

namespace skein {

// y = tanh(y)
Epilogue tanh_epilogue() noexcept;

// y = sigmoid(y)
Epilogue sigmoid_epilogue() noexcept;

// y = sigmoid(bias + y); bias is [rows] and outlives the call of dense().
Epilogue sigmoid_epilogue(const float* bias) noexcept;

// y = exp(kDecayScale * sigmoid(bias + y)): the decay, in (0.545, 1). The same bias.
Epilogue decay_epilogue(const float* bias) noexcept;

// y = relu(y)^2
Epilogue squared_relu_epilogue() noexcept;

// v += (v_first - v) * sigmoid(v0 + y); y itself stays as it is.
struct ValueResidual {
  const float* v0;            // [C]
  const Activation* v;        // [T][C], read and written
  const Activation* v_first;  // [T][C]
};

// `residual` outlives the call of dense(); its activations are neither x nor y of the job.
Epilogue value_residual_epilogue(const ValueResidual& residual) noexcept;

}  // namespace skein
