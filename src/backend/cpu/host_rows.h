// Weights that are vectors, and activations, as the float pointers that the steps take.
#pragma once

#include <cstdint>

#include "backend/rwkv7.h"
#include "base/check.h"
#include "tensor/tensor.h"

namespace skein {

// Row `row` of an f32 `row_major` tensor in host memory: [cols], aligned to 4 bytes.
inline const float* f32_row(const Tensor& tensor, uint64_t row = 0) noexcept {
  DCHECK(tensor.dtype() == DType::kF32 && tensor.layout().kind == LayoutKind::kRowMajor);
  return reinterpret_cast<const float*>(tensor.host_data()) + tensor.mapping()(row, uint64_t{0});
}

// One layer of one slot of the state, in the order of state.mapping.
inline float* state_of_slot(const LayerArgs& args, uint32_t slot) noexcept {
  return reinterpret_cast<float*>(args.state.buffer->host_data()) +
         args.state.offset_elems(args.layer, slot);
}

}  // namespace skein
