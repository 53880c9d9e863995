// What quantizing cost: the weights of a loaded model against those of its file.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/rwkv7.h"

namespace skein {

struct QuantError {
  std::string label;
  DType dtype;
  double relative_l2;      // |w' - w| / |w|, 0 where w is all zero
  double max_error;        // the largest |w' - w|
  double bits_per_weight;  // of the span: codes, scales and padding
};

// Of each quantized matrix, in the order of use. `path` is the file that `model` was loaded from.
// Errors: the file is not readable or has changed; the weights are not in host memory, or their
// neurons not in the file's order. Cost: reads
// every quantized matrix once, with two f32 copies of the largest.
Result<std::vector<QuantError>> measure_quant_error(const Rwkv7& model, const std::string& path,
                                                    uint32_t num_threads);

}  // namespace skein
