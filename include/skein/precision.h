// How exact the products of a forward pass are.
#pragma once

#include <cstdint>

namespace skein {

enum class Precision : uint8_t {
  kExact,  // products of f32 or f16 inputs, accumulated in f32
  kFast,   // may round the inputs of prefill's products to bf16 where the device multiplies those
           // faster
};

}  // namespace skein
