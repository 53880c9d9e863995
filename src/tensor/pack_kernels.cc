// See pack_kernels.h. The conversions are plain loops without branches, which compilers vectorize
// for each target; only the transposes need shuffles by name.
#include "tensor/pack_kernels.h"

#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/float16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/pack_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skein {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Branch-free twins of the functions in base/float16.h, where branches keep loops scalar; a test
// holds the two together. Why not the CPU's own conversions: they quiet NaNs, and the bytes would
// differ between machines.
struct F32Code {
  using Bits = uint32_t;
  static HWY_INLINE uint32_t widen(uint32_t u) { return u; }
  static HWY_INLINE uint32_t narrow(uint32_t u) { return u; }
};

struct BF16Code {
  using Bits = uint16_t;
  static HWY_INLINE uint32_t widen(uint16_t h) { return static_cast<uint32_t>(h) << 16; }
  static HWY_INLINE uint16_t narrow(uint32_t u) {
    const uint32_t nan = (u >> 16) | 0x40u;
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
  }
};

struct F16Code {
  using Bits = uint16_t;
  static HWY_INLINE uint32_t widen(uint16_t h) {
    const uint32_t sign = (h & 0x8000u) << 16;
    const uint32_t magnitude = h & 0x7fffu;
    const uint32_t subnormal =
        std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
    // The exponent's bias grows by 112; infinity and NaN need another 112 to get to 255.
    const uint32_t normal =
        (magnitude << 13) + (112u << 23) + (magnitude >= 0x7c00u ? 112u << 23 : 0u);
    // A mask, not ?:, which g++ 12 makes a branch here, and the loop scalar.
    const uint32_t mask = 0u - static_cast<uint32_t>(magnitude < 0x400u);
    return sign | (subnormal & mask) | (normal & ~mask);
  }
  static HWY_INLINE uint16_t narrow(uint32_t u) {
    const uint32_t sign = (u >> 16) & 0x8000u;
    const uint32_t magnitude = u & 0x7fffffffu;
    const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    // Where the addend is not below 2^-14, the sum is not used.
    const uint32_t subnormal =
        std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
    return static_cast<uint16_t>(sign | (magnitude >= 0x477ff000u ? special : finite));
  }
};

template <class From, class To>
HWY_ATTR void convert_loop(const std::byte* HWY_RESTRICT src, std::byte* HWY_RESTRICT dst,
                           uint64_t num_elems) {
  for (uint64_t i = 0; i < num_elems; ++i) {
    typename From::Bits from;
    std::memcpy(&from, src + i * sizeof from, sizeof from);
    const typename To::Bits to = To::narrow(From::widen(from));
    std::memcpy(dst + i * sizeof to, &to, sizeof to);
  }
}

template <class From>
HWY_ATTR void convert_from(const std::byte* src, std::byte* dst, DType to, uint64_t num_elems) {
  switch (to) {
    case DType::kF32:
      return convert_loop<From, F32Code>(src, dst, num_elems);
    case DType::kF16:
      return convert_loop<From, F16Code>(src, dst, num_elems);
    case DType::kBF16:
      return convert_loop<From, BF16Code>(src, dst, num_elems);
    default:
      return;
  }
}

HWY_ATTR void convert_run(const std::byte* src, DType from, std::byte* dst, DType to,
                          uint64_t num_elems) {
  switch (from) {
    case DType::kF32:
      return convert_from<F32Code>(src, dst, to, num_elems);
    case DType::kF16:
      return convert_from<F16Code>(src, dst, to, num_elems);
    case DType::kBF16:
      return convert_from<BF16Code>(src, dst, to, num_elems);
    default:
      return;
  }
}

template <class Bits>
HWY_ATTR void transpose_scalar(const std::byte* src, uint64_t src_stride, std::byte* dst,
                               uint64_t dst_stride, uint64_t rows, uint64_t cols) {
  for (uint64_t j = 0; j < cols; ++j) {
    for (uint64_t i = 0; i < rows; ++i) {
      std::memcpy(dst + j * dst_stride + i * sizeof(Bits), src + i * src_stride + j * sizeof(Bits),
                  sizeof(Bits));
    }
  }
}

#if HWY_TARGET == HWY_SCALAR

HWY_ATTR void transpose_16(const std::byte* src, uint64_t src_stride, std::byte* dst,
                           uint64_t dst_stride, uint64_t rows, uint64_t cols) {
  transpose_scalar<uint16_t>(src, src_stride, dst, dst_stride, rows, cols);
}

HWY_ATTR void transpose_32(const std::byte* src, uint64_t src_stride, std::byte* dst,
                           uint64_t dst_stride, uint64_t rows, uint64_t cols) {
  transpose_scalar<uint32_t>(src, src_stride, dst, dst_stride, rows, cols);
}

#else

// kRows x kCols elements of 16 bits, each 4 or 8. Three rounds of zipping row i with row i + 4
// rotate the bits of the element's index (i, j) by three places, which exchanges i and j.
template <int kRows, int kCols>
HWY_ATTR void transpose_block_16(const std::byte* src, uint64_t src_stride, std::byte* dst,
                                 uint64_t dst_stride) {
  const hn::FixedTag<uint16_t, 8> d;
  const hn::FixedTag<uint8_t, 16> bytes;
  const hn::FixedTag<uint8_t, 8> half_bytes;
  using V = hn::Vec<decltype(d)>;
  const auto load = [&](int row) HWY_ATTR {
    if (row >= kRows) return hn::Zero(d);
    const auto* from =
        reinterpret_cast<const uint8_t*>(src) + static_cast<uint64_t>(row) * src_stride;
    if constexpr (kCols == 8) return hn::BitCast(d, hn::LoadU(bytes, from));
    return hn::BitCast(d, hn::ZeroExtendVector(bytes, hn::LoadU(half_bytes, from)));
  };
  V a0 = load(0), a1 = load(1), a2 = load(2), a3 = load(3);
  V a4 = load(4), a5 = load(5), a6 = load(6), a7 = load(7);
  for (int round = 0; round < 3; ++round) {
    const V b0 = hn::InterleaveLower(d, a0, a4), b1 = hn::InterleaveUpper(d, a0, a4);
    const V b2 = hn::InterleaveLower(d, a1, a5), b3 = hn::InterleaveUpper(d, a1, a5);
    const V b4 = hn::InterleaveLower(d, a2, a6), b5 = hn::InterleaveUpper(d, a2, a6);
    const V b6 = hn::InterleaveLower(d, a3, a7), b7 = hn::InterleaveUpper(d, a3, a7);
    a0 = b0, a1 = b1, a2 = b2, a3 = b3, a4 = b4, a5 = b5, a6 = b6, a7 = b7;
  }
  const auto store = [&](int col, V v) HWY_ATTR {
    if (col >= kCols) return;
    auto* to = reinterpret_cast<uint8_t*>(dst) + static_cast<uint64_t>(col) * dst_stride;
    if constexpr (kRows == 8) {
      hn::StoreU(hn::BitCast(bytes, v), bytes, to);
    } else {
      hn::StoreU(hn::LowerHalf(half_bytes, hn::BitCast(bytes, v)), half_bytes, to);
    }
  };
  store(0, a0), store(1, a1), store(2, a2), store(3, a3);
  store(4, a4), store(5, a5), store(6, a6), store(7, a7);
}

// 4 x 4 elements of 32 bits, in two rounds.
HWY_ATTR inline void transpose_block_32(const std::byte* src, uint64_t src_stride, std::byte* dst,
                                        uint64_t dst_stride) {
  const hn::FixedTag<uint32_t, 4> d;
  const hn::FixedTag<uint8_t, 16> bytes;
  using V = hn::Vec<decltype(d)>;
  const auto* from = reinterpret_cast<const uint8_t*>(src);
  auto* to = reinterpret_cast<uint8_t*>(dst);
  V a0 = hn::BitCast(d, hn::LoadU(bytes, from));
  V a1 = hn::BitCast(d, hn::LoadU(bytes, from + src_stride));
  V a2 = hn::BitCast(d, hn::LoadU(bytes, from + 2 * src_stride));
  V a3 = hn::BitCast(d, hn::LoadU(bytes, from + 3 * src_stride));
  for (int round = 0; round < 2; ++round) {
    const V b0 = hn::InterleaveLower(d, a0, a2), b1 = hn::InterleaveUpper(d, a0, a2);
    const V b2 = hn::InterleaveLower(d, a1, a3), b3 = hn::InterleaveUpper(d, a1, a3);
    a0 = b0, a1 = b1, a2 = b2, a3 = b3;
  }
  hn::StoreU(hn::BitCast(bytes, a0), bytes, to);
  hn::StoreU(hn::BitCast(bytes, a1), bytes, to + dst_stride);
  hn::StoreU(hn::BitCast(bytes, a2), bytes, to + 2 * dst_stride);
  hn::StoreU(hn::BitCast(bytes, a3), bytes, to + 3 * dst_stride);
}

// 4 rows x 8 cols: two rounds do, and a register then holds two cols.
HWY_ATTR inline void transpose_block_16_4x8(const std::byte* src, uint64_t src_stride,
                                            std::byte* dst, uint64_t dst_stride) {
  const hn::FixedTag<uint16_t, 8> d;
  const hn::FixedTag<uint8_t, 16> bytes;
  const hn::FixedTag<uint8_t, 8> half_bytes;
  using V = hn::Vec<decltype(d)>;
  const auto* from = reinterpret_cast<const uint8_t*>(src);
  auto* to = reinterpret_cast<uint8_t*>(dst);
  const V a0 = hn::BitCast(d, hn::LoadU(bytes, from));
  const V a1 = hn::BitCast(d, hn::LoadU(bytes, from + src_stride));
  const V a2 = hn::BitCast(d, hn::LoadU(bytes, from + 2 * src_stride));
  const V a3 = hn::BitCast(d, hn::LoadU(bytes, from + 3 * src_stride));
  const V b0 = hn::InterleaveLower(d, a0, a2), b1 = hn::InterleaveUpper(d, a0, a2);
  const V b2 = hn::InterleaveLower(d, a1, a3), b3 = hn::InterleaveUpper(d, a1, a3);
  const V c[4] = {hn::InterleaveLower(d, b0, b2), hn::InterleaveUpper(d, b0, b2),
                  hn::InterleaveLower(d, b1, b3), hn::InterleaveUpper(d, b1, b3)};
  for (uint64_t pair = 0; pair < 4; ++pair) {
    const auto two_cols = hn::BitCast(bytes, c[pair]);
    uint8_t* at = to + 2 * pair * dst_stride;
    if (dst_stride == 8) {
      hn::StoreU(two_cols, bytes, at);
    } else {
      hn::StoreU(hn::LowerHalf(half_bytes, two_cols), half_bytes, at);
      hn::StoreU(hn::UpperHalf(half_bytes, two_cols), half_bytes, at + dst_stride);
    }
  }
}

// One block where it fits: the largest of 8x8, 4x8, 8x4 and 4x4.
HWY_ATTR inline void transpose_fitting_16(const std::byte* src, uint64_t src_stride, std::byte* dst,
                                          uint64_t dst_stride, bool eight_rows, bool eight_cols) {
  if (eight_rows && eight_cols) {
    transpose_block_16<8, 8>(src, src_stride, dst, dst_stride);
  } else if (eight_cols) {
    transpose_block_16_4x8(src, src_stride, dst, dst_stride);
  } else if (eight_rows) {
    transpose_block_16<8, 4>(src, src_stride, dst, dst_stride);
  } else {
    transpose_block_16<4, 4>(src, src_stride, dst, dst_stride);
  }
}

// The side of the next block of 16-bit elements, or 1 where what is left takes single elements.
HWY_INLINE uint64_t step_16(uint64_t left) { return left >= 8 ? 8 : left >= 4 ? 4 : 1; }

// Whichever of src and dst has its rows farther apart gets them one strip of 8 after the other:
// rows a power of two apart share one set of the cache, which holds 8 lines and not 64.
HWY_ATTR void transpose_16(const std::byte* src, uint64_t src_stride, std::byte* dst,
                           uint64_t dst_stride, uint64_t rows, uint64_t cols) {
  const auto block = [&](uint64_t i, uint64_t j, uint64_t height, uint64_t width) HWY_ATTR {
    const std::byte* from = src + i * src_stride + 2 * j;
    std::byte* to = dst + j * dst_stride + 2 * i;
    if (height == 1 || width == 1) {
      transpose_scalar<uint16_t>(from, src_stride, to, dst_stride, height, width);
    } else {
      transpose_fitting_16(from, src_stride, to, dst_stride, height == 8, width == 8);
    }
  };
  if (src_stride >= dst_stride) {
    for (uint64_t i = 0, height; i < rows; i += height) {
      height = step_16(rows - i);
      for (uint64_t j = 0, width; j < cols; j += width) {
        width = step_16(cols - j);
        block(i, j, height, width);
      }
    }
  } else {
    for (uint64_t j = 0, width; j < cols; j += width) {
      width = step_16(cols - j);
      for (uint64_t i = 0, height; i < rows; i += height) {
        height = step_16(rows - i);
        block(i, j, height, width);
      }
    }
  }
}

HWY_ATTR void transpose_32(const std::byte* src, uint64_t src_stride, std::byte* dst,
                           uint64_t dst_stride, uint64_t rows, uint64_t cols) {
  const auto block = [&](uint64_t i, uint64_t j, uint64_t height, uint64_t width) HWY_ATTR {
    const std::byte* from = src + i * src_stride + 4 * j;
    std::byte* to = dst + j * dst_stride + 4 * i;
    if (height == 4 && width == 4) {
      transpose_block_32(from, src_stride, to, dst_stride);
    } else {
      transpose_scalar<uint32_t>(from, src_stride, to, dst_stride, height, width);
    }
  };
  if (src_stride >= dst_stride) {
    for (uint64_t i = 0; i < rows; i += 4) {
      for (uint64_t j = 0; j < cols; j += 4) {
        block(i, j, HWY_MIN(rows - i, 4), HWY_MIN(cols - j, 4));
      }
    }
  } else {
    for (uint64_t j = 0; j < cols; j += 4) {
      for (uint64_t i = 0; i < rows; i += 4) {
        block(i, j, HWY_MIN(rows - i, 4), HWY_MIN(cols - j, 4));
      }
    }
  }
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace skein
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(convert_run);
HWY_EXPORT(transpose_16);
HWY_EXPORT(transpose_32);

// A constant length makes memcpy one or two moves; as a call it would cost more than its bytes.
template <uint64_t kRunBytes>
void copy_short_runs(const std::byte* src, GridStrides src_strides, std::byte* dst,
                     GridStrides dst_strides, uint64_t rows, uint64_t chunks) {
  for (uint64_t i = 0; i < rows; ++i) {
    const std::byte* from = src + i * src_strides.row;
    std::byte* to = dst + i * dst_strides.row;
    for (uint64_t j = 0; j < chunks; ++j) {
      std::memcpy(to + j * dst_strides.chunk, from + j * src_strides.chunk, kRunBytes);
    }
  }
}

}  // namespace

void convert_run(const std::byte* src, DType from, std::byte* dst, DType to,
                 uint64_t num_elems) noexcept {
  HWY_DYNAMIC_DISPATCH(convert_run)(src, from, dst, to, num_elems);
}

void transpose(const std::byte* src, uint64_t src_stride, std::byte* dst, uint64_t dst_stride,
               uint64_t rows, uint64_t cols, uint32_t elem_bytes) noexcept {
  if (elem_bytes == 1) {
    for (uint64_t j = 0; j < cols; ++j) {
      for (uint64_t i = 0; i < rows; ++i) dst[j * dst_stride + i] = src[i * src_stride + j];
    }
    return;
  }
  DCHECK(elem_bytes == 2 || elem_bytes == 4);
  if (elem_bytes == 2) {
    HWY_DYNAMIC_DISPATCH(transpose_16)(src, src_stride, dst, dst_stride, rows, cols);
  } else {
    HWY_DYNAMIC_DISPATCH(transpose_32)(src, src_stride, dst, dst_stride, rows, cols);
  }
}

void copy_grid(const std::byte* src, GridStrides src_strides, std::byte* dst,
               GridStrides dst_strides, uint64_t rows, uint64_t chunks,
               uint64_t run_bytes) noexcept {
  const auto copy = [&](auto copy_runs) {
    copy_runs(src, src_strides, dst, dst_strides, rows, chunks);
  };
  switch (run_bytes) {
    case 4:
      return copy(copy_short_runs<4>);
    case 8:
      return copy(copy_short_runs<8>);
    case 16:
      return copy(copy_short_runs<16>);
    case 32:
      return copy(copy_short_runs<32>);
    case 64:
      return copy(copy_short_runs<64>);
    case 128:
      return copy(copy_short_runs<128>);
    default:
      break;
  }
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t j = 0; j < chunks; ++j) {
      std::memcpy(dst + i * dst_strides.row + j * dst_strides.chunk,
                  src + i * src_strides.row + j * src_strides.chunk, run_bytes);
    }
  }
}

}  // namespace skein
#endif  // HWY_ONCE
