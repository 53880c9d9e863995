// How exact the products of a forward pass are.
#pragma once

#include <cstdint>

namespace skein {

enum class Precision : uint8_t {
  kExact,  // products of f32 inputs and dequantized weights, accumulated in f32
  kFast,   // where the device multiplies them faster, inputs may be rounded: to bf16 in prefill, to
           // int8 beside quantized weights, in the blocks of those
};

}  // namespace skein
