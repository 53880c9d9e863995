// The SIMD parts of sparse(): non-zero lists, sums of scaled columns, walks through a decoded
// block.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/sparse_col_major.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
//
#include <algorithm>

#include "backend/cpu/sparse-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

template <class Index>
HWY_INLINE uint64_t compact_to(const float* x, uint64_t num_cols, Index* cols, float* values) {
  const F32Tag d;
  const hn::RebindToSigned<F32Tag> d32;
  const hn::Rebind<Index, F32Tag> d_index;
  uint64_t count = 0;
  uint64_t c = 0;
  for (; c + kLanes <= num_cols; c += kLanes) {
    const F32Vec xs = hn::LoadU(d, x + c);
    const auto mask = hn::Ne(xs, hn::Zero(d));
    // Compress in registers: Zen 4 takes a hundred cycles to compress to memory.
    hn::StoreU(hn::Compress(xs, mask), d, values + count);
    const auto index =
        hn::Compress(hn::Iota(d32, static_cast<int32_t>(c)), hn::RebindMask(d32, mask));
    if constexpr (sizeof(Index) == 2) {
      hn::StoreU(hn::DemoteTo(d_index, index), d_index, cols + count);
    } else {
      hn::StoreU(hn::BitCast(d_index, index), d_index, cols + count);
    }
    count += hn::CountTrue(d, mask);
  }
  for (; c < num_cols; ++c) {
    if (x[c] == 0.0f) continue;
    cols[count] = static_cast<Index>(c);
    values[count++] = x[c];
  }
  return count;
}

uint64_t compact_32(const float* x, uint64_t num_cols, uint32_t* cols, float* values) {
  return compact_to(x, num_cols, cols, values);
}

uint64_t compact_16(const float* x, uint64_t num_cols, uint16_t* cols, float* values) {
  return compact_to(x, num_cols, cols, values);
}

template <class E>
void add_cols_of(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
  record_executed_cpu_target(HWY_TARGET);
  add_cols<E>(weights, rows, x, y, add);
}

template <class E>
void decode_block_of(const Tensor& weights, Range rows, Range cols, float* panel) {
  record_executed_cpu_target(HWY_TARGET);
  const F32Tag d;
  const auto& mapping = mapping_as<ColMajor>(weights);
  const E* from = reinterpret_cast<const E*>(weights.host_data()) + mapping(rows.begin, cols.begin);
  const size_t num_rows = rows.length();
  // A column's run here is short, so the hardware sees no stream.
  constexpr uint64_t kColsAhead = 12;
  for (uint64_t c = cols.begin; c < cols.end; ++c) {
    for (size_t r = 0; r < num_rows; r += 64 / sizeof(E)) {
      prefetch_l2(from + kColsAhead * mapping.col_stride() + r);
    }
    size_t r = 0;
    for (; r + kLanes <= num_rows; r += kLanes) hn::Store(load_weights(d, from + r), d, panel + r);
    if (r < num_rows) hn::Store(load_weights_n(d, from + r, num_rows - r), d, panel + r);
    from += mapping.col_stride();
    panel += kSparseRows;
  }
}

// kVecs vectors of rows, whole or, for the last one, num_rows < kLanes of them.
template <size_t kVecs, bool kPartial>
HWY_INLINE void walk_rows(const float* HWY_RESTRICT panel, const uint16_t* cols,
                          const float* values, size_t count, size_t num_rows, float* y) {
  const F32Tag d;
  F32Vec acc[kVecs];
  HWY_UNROLL(16)
  for (size_t v = 0; v < kVecs; ++v) {
    acc[v] = kPartial ? load_floats_n(d, y, num_rows) : hn::LoadU(d, y + v * kLanes);
  }
  for (size_t i = 0; i < count; ++i) {
    const float* w = panel + size_t{cols[i]} * kSparseRows;
    const F32Vec x = hn::Set(d, values[i]);
    HWY_UNROLL(16)
    for (size_t v = 0; v < kVecs; ++v) {
      acc[v] = hn::MulAdd(hn::Load(d, w + v * kLanes), x, acc[v]);
    }
  }
  HWY_UNROLL(16)
  for (size_t v = 0; v < kVecs; ++v) {
    if (kPartial) {
      store_floats_n(d, acc[v], y, num_rows);
    } else {
      hn::StoreU(acc[v], d, y + v * kLanes);
    }
  }
}

void walk_all(const float* panel, const uint16_t* cols, const float* values, uint32_t count,
              uint32_t num_rows, float* y) {
  uint32_t r = 0;
  for (; r + 8 * kLanes <= num_rows; r += 8 * kLanes) {
    walk_rows<8, false>(panel + r, cols, values, count, 0, y + r);
  }
  for (; r + 2 * kLanes <= num_rows; r += 2 * kLanes) {
    walk_rows<2, false>(panel + r, cols, values, count, 0, y + r);
  }
  for (; r + kLanes <= num_rows; r += kLanes) {
    walk_rows<1, false>(panel + r, cols, values, count, 0, y + r);
  }
  if (r < num_rows) walk_rows<1, true>(panel + r, cols, values, count, num_rows - r, y + r);
}

void add_partials_to(const float* partials, uint64_t stride, uint32_t num_partials,
                     uint64_t num_rows, float* y) {
  const F32Tag d;
  uint64_t r = 0;
  for (; r + kLanes <= num_rows; r += kLanes) {
    F32Vec sum = hn::LoadU(d, partials + r);
    for (uint32_t p = 1; p < num_partials; ++p) {
      sum = hn::Add(sum, hn::LoadU(d, partials + p * stride + r));
    }
    hn::StoreU(hn::Add(hn::LoadU(d, y + r), sum), d, y + r);
  }
  for (; r < num_rows; ++r) {
    float sum = partials[r];
    for (uint32_t p = 1; p < num_partials; ++p) sum += partials[p * stride + r];
    y[r] += sum;
  }
}

void add_cols_f32(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
  add_cols_of<float>(weights, rows, x, y, add);
}
void add_cols_f16(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
  add_cols_of<F16>(weights, rows, x, y, add);
}
void add_cols_bf16(const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
  add_cols_of<BF16>(weights, rows, x, y, add);
}
void decode_block_f32(const Tensor& weights, Range rows, Range cols, float* panel) {
  decode_block_of<float>(weights, rows, cols, panel);
}
void decode_block_f16(const Tensor& weights, Range rows, Range cols, float* panel) {
  decode_block_of<F16>(weights, rows, cols, panel);
}
void decode_block_bf16(const Tensor& weights, Range rows, Range cols, float* panel) {
  decode_block_of<BF16>(weights, rows, cols, panel);
}

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
namespace {

HWY_EXPORT(compact_32);
HWY_EXPORT(compact_16);
HWY_EXPORT(walk_all);
HWY_EXPORT(add_partials_to);
HWY_EXPORT(add_cols_f32);
HWY_EXPORT(add_cols_f16);
HWY_EXPORT(add_cols_bf16);
HWY_EXPORT(decode_block_f32);
HWY_EXPORT(decode_block_f16);
HWY_EXPORT(decode_block_bf16);

bool accepts(const Layout& layout) { return layout.kind == LayoutKind::kColMajor; }

constexpr std::string_view kLayouts = "col_major";

}  // namespace

std::span<const SparseKernel> sparse_plain_kernels() noexcept {
  static constexpr SparseKernel kKernels[] = {
      {{MatrixOp::kSparse, DType::kF32, kLayouts, accepts, "sparse_f32_col_major"},
       [](const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
         return HWY_DYNAMIC_DISPATCH(add_cols_f32)(weights, rows, x, y, add);
       },
       [](const Tensor& weights, Range rows, Range cols, float* panel) {
         return HWY_DYNAMIC_DISPATCH(decode_block_f32)(weights, rows, cols, panel);
       }},
      {{MatrixOp::kSparse, DType::kF16, kLayouts, accepts, "sparse_f16_col_major"},
       [](const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
         return HWY_DYNAMIC_DISPATCH(add_cols_f16)(weights, rows, x, y, add);
       },
       [](const Tensor& weights, Range rows, Range cols, float* panel) {
         return HWY_DYNAMIC_DISPATCH(decode_block_f16)(weights, rows, cols, panel);
       }},
      {{MatrixOp::kSparse, DType::kBF16, kLayouts, accepts, "sparse_bf16_col_major"},
       [](const Tensor& weights, Range rows, NonZeros x, float* y, bool add) {
         return HWY_DYNAMIC_DISPATCH(add_cols_bf16)(weights, rows, x, y, add);
       },
       [](const Tensor& weights, Range rows, Range cols, float* panel) {
         return HWY_DYNAMIC_DISPATCH(decode_block_bf16)(weights, rows, cols, panel);
       }},
  };
  return kKernels;
}

uint64_t compact(const float* x, uint64_t num_cols, uint32_t* cols, float* values) noexcept {
  return HWY_DYNAMIC_DISPATCH(compact_32)(x, num_cols, cols, values);
}

uint32_t compact_block(const float* x, uint32_t num_cols, uint16_t* cols, float* values) noexcept {
  return static_cast<uint32_t>(HWY_DYNAMIC_DISPATCH(compact_16)(x, num_cols, cols, values));
}

void walk(const float* panel, const uint16_t* cols, const float* values, uint32_t count,
          uint32_t num_rows, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(walk_all)(panel, cols, values, count, num_rows, y);
}

void add_partials(const float* partials, uint64_t stride_elems, uint32_t num_partials,
                  uint64_t num_rows, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(add_partials_to)(partials, stride_elems, num_partials, num_rows, y);
}

}  // namespace skein
#endif  // HWY_ONCE
