// Int8Ops: dense() with activations rounded to int8 (kFast), for one (dtype, layout) of quantized
// weights. Internal to the CPU backend.
//
// Each token's x is rounded once a call, block by block of the weights' own steps of cols: codes
// of -127 .. 127 times absmax / 127. A block's product is then one sum of integers, exact, and two
// or three operations of f32. Against the exact product a weight w of a block is off by at most |w|
// max|x| / 254, and codes of nf4 and sf4, which are rounded to 127ths too, by |x| absmax(w) / 254.
//
// Laws: results depend on neither the number of threads nor num_tokens.
#pragma once

#include <cstdint>

#include "base/bits.h"
#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace skein {

// Tokens that a kernel takes at once; so many have room, whatever they hold.
inline constexpr uint32_t kInt8Tokens = 8;

// Rounded rows of x, in the order of cols that the kernel wants; zero behind `cols`. T is a
// multiple of kInt8Tokens.
struct Int8Rows {
  int8_t* codes;  // [T][code_stride]
  float* scales;  // [T][num_blocks], absmax / 127
  int32_t* sums;  // [T][num_blocks], of a block's codes
  uint64_t code_stride;
  uint64_t num_blocks;

  // How the rows for weights of `cols` and `dtype` lie in `memory`, aligned to 64 B.
  static Int8Rows place(std::byte* memory, uint64_t cols, DType dtype, uint64_t num_tokens) {
    const uint64_t blocks = ceil_div<uint64_t>(cols, step_cols(dtype));
    const uint64_t room = round_up(num_tokens, uint64_t{kInt8Tokens});
    Int8Rows rows{};
    rows.codes = reinterpret_cast<int8_t*>(memory);
    rows.code_stride = blocks * step_cols(dtype);
    rows.scales = reinterpret_cast<float*>(memory + room * rows.code_stride);
    rows.sums = reinterpret_cast<int32_t*>(rows.scales + room * blocks);
    rows.num_blocks = blocks;
    return rows;
  }
  static uint64_t bytes_per_token(uint64_t cols, DType dtype) {
    return ceil_div<uint64_t>(cols, step_cols(dtype)) *
           (step_cols(dtype) + sizeof(float) + sizeof(int32_t));
  }
};

struct Int8Args {
  const Tensor& weights;
  Range rows;  // begins at a multiple of kRowGroup; ends at one or at weights.rows()
  Int8Rows x;
  float* y;
  uint64_t y_stride_elems;
  uint32_t num_tokens;
  bool add;
};

struct Int8Ops {
  // Rounds x[0, cols) to row `token` of `rows`.
  void (*round_row)(const float* x, uint64_t cols, const Int8Rows& rows, uint64_t token);
  void (*multiply)(const Int8Args&);
};

// The operations for codes of 8 bits in interleave(16,*,4) and of 4 bits in interleave(16,*,8);
// nullptr where this binary has none. The CPU must have VNNI (cpu_target_has_vnni()).
const Int8Ops* dense_int8_ops(DType dtype) noexcept;

}  // namespace skein
