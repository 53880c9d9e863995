// What dense_quant_blocked.cc has for the other kernels of blocks.
#pragma once

#include "backend/cpu/dense_kernel.h"

namespace skein {

// decode_panel of any quantized `interleave`, `tile` and `morton`.
void decode_quant_blocks(const PanelArgs& args);

}  // namespace skein
