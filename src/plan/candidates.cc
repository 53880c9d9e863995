#include "plan/candidates.h"

#include <algorithm>
#include <array>

#include "layout/any_mapping.h"
#include "tensor/tensor.h"

namespace skein {
namespace {

// Cache line, pair of lines that prefetchers fetch, and the alignment of blocks on GPUs.
constexpr std::array<uint32_t, 3> kAlignments = {64, 128, 256};

// Orders without alignment. Plain types: K = 1 is one row a lane, K = 4 four cols of it; blocks of
// 32 cols fit the low-rank matrices' ranks. Quantized types: blocks of cols are those of the
// scales, and K = 4 int8 or 8 nibbles are a 32-bit lane.
std::vector<Layout> list_orders(DType dtype) {
  const auto interleave = Layout::interleave;
  std::vector<Layout> orders = {Layout::row_major(), Layout::col_major()};
  if (is_quantized(dtype)) {
    const uint32_t block = block_cols(dtype);
    const uint32_t lane = 32 / element_bits(dtype);
    for (const uint32_t rows : {16u, 8u, 4u}) orders.push_back(interleave(rows, block, lane, 0));
    orders.push_back(interleave(16, 2 * block, lane, 0));
    orders.push_back(interleave(16, block, 1, 0));
    orders.push_back(Layout::tile(16, block));
  } else {
    for (const uint32_t cols : {32u, 64u, 128u, 256u}) {
      orders.push_back(interleave(16, cols, 1, 0));
    }
    for (const uint32_t rows : {16u, 8u, 4u}) {
      orders.push_back(interleave(rows, 64, 4, 0));
      orders.push_back(interleave(rows, 64, 64, 0));
    }
    orders.push_back(interleave(8, 64, 1, 0));
    orders.push_back(Layout::tile(16, 32));
    orders.push_back(Layout::tile(32, 64));
  }
  for (const uint32_t side : {16u, 32u, 64u}) orders.push_back(Layout::morton(side));
  return orders;
}

// Whether every shape of the kind can be laid out so.
bool fits(const Layout& layout, const MatrixKind& kind) {
  return std::all_of(kind.shapes.begin(), kind.shapes.end(), [&](const MatrixShape& shape) {
    const auto mapping = make_mapping(layout, {shape.rows, shape.cols}, element_bits(kind.dtype));
    return mapping && make_scale_mapping(*mapping, kind.dtype);
  });
}

// Equal but for the alignment, and the larger one pads nothing that the other does not: then all
// elements lie at the same places.
bool same_places(const Layout& a, const Layout& b, const MatrixKind& kind) {
  Layout unaligned_a = a, unaligned_b = b;
  unaligned_a.align_bytes = unaligned_b.align_bytes = 0;
  if (unaligned_a != unaligned_b) return false;
  return std::all_of(kind.shapes.begin(), kind.shapes.end(), [&](const MatrixShape& shape) {
    const auto span_bytes = [&](const Layout& layout) {
      const auto mapping = make_mapping(layout, {shape.rows, shape.cols}, element_bits(kind.dtype));
      return Tensor::span_bytes_of(*mapping, kind.dtype);
    };
    return span_bytes(a) == span_bytes(b);
  });
}

}  // namespace

std::vector<Layout> list_candidates(const MatrixKind& kind, std::span<const KernelInfo> kernels,
                                    const Layout& standard) {
  std::vector<Layout> candidates;
  const auto add = [&](const Layout& layout) {
    if (find_kernel(kernels, matrix_op(kind.group), kind.dtype, layout) == nullptr) return;
    if (!fits(layout, kind)) return;
    const auto same = [&](const Layout& other) { return same_places(layout, other, kind); };
    if (std::none_of(candidates.begin(), candidates.end(), same)) candidates.push_back(layout);
  };
  add(standard);
  for (const Layout& order : list_orders(kind.dtype)) {
    add(order);
    for (const uint32_t align_bytes : kAlignments) {
      Layout aligned = order;
      aligned.align_bytes = align_bytes;
      add(aligned);
    }
  }
  return candidates;
}

}  // namespace skein
