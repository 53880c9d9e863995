// pack() where codes are read or written: one piece of the matrix at a time, in the first-level
// cache, in row order with one code a byte or one f32 a value.
//
// 4-bit codes move as bytes wherever a byte always holds two neighbours of one row or of one col: a
// mapping of pairs, with half the cols or half the rows, then places them like any 8-bit element.
// Layouts of odd sides, and morton, go nibble by nibble.
#include "tensor/pack_quant.h"

#include <algorithm>
#include <atomic>

#include "base/check.h"
#include "tensor/pack_panels.h"
#include "tensor/quant_kernels.h"

namespace skein {
namespace {

// Whole blocks of every codec. A piece begins at an even row and at the start of a block.
constexpr uint64_t kPieceCols = 512;
constexpr uint64_t kPieceRows = kPieceElems / kPieceCols;
constexpr uint64_t kTallPieceCols = kPieceElems / kPieceDim;
constexpr bool pieces_hold_whole_blocks() {
  for (const DType dtype : kQuantDTypes) {
    const uint64_t block = block_cols(dtype);
    if (kPieceCols % block != 0 || std::max(kTallPieceCols, block) % block != 0) return false;
    if (kPieceElems / std::max(kTallPieceCols, block) % 2 != 0) return false;
  }
  return true;
}
static_assert(pieces_hold_whole_blocks() && kPieceRows % 2 == 0);

// How two 4-bit codes share a byte.
enum class Pairs { kCols, kRows, kMixed };

Pairs pairs_of(const RowMajor& m) { return m.row_stride() % 2 == 0 ? Pairs::kCols : Pairs::kMixed; }
Pairs pairs_of(const ColMajor& m) { return m.col_stride() % 2 == 0 ? Pairs::kRows : Pairs::kMixed; }
Pairs pairs_of(const Interleave& m) {
  if (m.chunk_cols() % 2 == 0) return Pairs::kCols;
  return m.chunk_cols() == 1 && m.block_rows() % 2 == 0 ? Pairs::kRows : Pairs::kMixed;
}
Pairs pairs_of(const Morton&) { return Pairs::kMixed; }

// The bytes of the codes as a mapping of pairs; only where they are not mixed.
RowMajor mapping_of_pairs(const RowMajor& m, Extents pairs) {
  return RowMajor(pairs, m.row_stride() / 2);
}
ColMajor mapping_of_pairs(const ColMajor& m, Extents pairs) {
  return ColMajor(pairs, m.col_stride() / 2);
}
Interleave mapping_of_pairs(const Interleave& m, Extents pairs) {
  const bool of_cols = pairs_of(m) == Pairs::kCols;
  const uint32_t row_div = of_cols ? 1 : 2, col_div = of_cols ? 2 : 1;
  return Interleave(pairs, m.block_rows() / row_div, m.block_cols() / col_div,
                    m.chunk_cols() / col_div, m.block_stride() / 2);
}
Morton mapping_of_pairs(const Morton& m, Extents) { return m; }

Range halved(Range range) { return {range.begin / 2, ceil_div<uint64_t>(range.end, 2)}; }

uint8_t nibble(const std::byte* data, uint64_t index) {
  return static_cast<uint8_t>((static_cast<uint8_t>(data[index / 2]) >> (index % 2 * 4)) & 15u);
}

void set_nibble(std::byte* data, uint64_t index, uint8_t code) {
  const unsigned shift = index % 2 * 4;
  const unsigned keep = static_cast<unsigned>(data[index / 2]) & (0xf0u >> shift);
  data[index / 2] = static_cast<std::byte>(keep | static_cast<unsigned>(code) << shift);
}

// Calls f(offset, index in the piece) for each element of `rect`.
template <class Mapping, class F>
void for_each_element(const Mapping& mapping, const Rect& rect, F&& f) {
  for_each_panel(mapping, rect, [&](const Panel& panel) {
    for (uint64_t row = panel.rect.rows.begin; row < panel.rect.rows.end; ++row) {
      const uint64_t row_at = panel.offset_elems + (row - panel.rect.rows.begin) * panel.row_stride;
      for (uint64_t col = panel.rect.cols.begin; col < panel.rect.cols.end; ++col) {
        const uint64_t place = panel.skip_cols + col - panel.rect.cols.begin;
        f(row_at + place / panel.chunk * panel.chunk_stride + place % panel.chunk,
          (row - rect.rows.begin) * rect.cols.length() + col - rect.cols.begin);
      }
    }
  });
}

template <class Byte, class RowByte>
void copy_rect(const AnyMapping& mapping, Byte* data, const Rect& rect, RowByte* rows,
               uint32_t elem_bytes) {
  mapping.visit([&](const auto& typed) {
    for_each_panel(typed, rect, [&](const Panel& panel) {
      copy_panel(panel, data, rect, RowOrder<RowByte>{rows, rect.cols.length() * elem_bytes},
                 elem_bytes);
    });
  });
}

// The codes of `rect`, whose byte rows are rect.cols.length() apart, between a 4-bit matrix and row
// order with one code a byte. Missing partners of a pair at the edge are `padding`.
template <class Mapping>
void store_nibbles(const Mapping& mapping, std::byte* data, const Rect& rect,
                   const std::byte* codes, std::byte padding) {
  const Pairs pairs = pairs_of(mapping);
  const uint64_t rows = rect.rows.length(), cols = rect.cols.length();
  if (pairs == Pairs::kMixed) {
    for_each_element(mapping, rect, [&](uint64_t offset, uint64_t i) {
      set_nibble(data, offset, static_cast<uint8_t>(codes[i]));
    });
    return;
  }
  alignas(64) std::byte bytes[kPieceElems];
  const bool of_cols = pairs == Pairs::kCols;
  const Rect half = {of_cols ? rect.rows : halved(rect.rows),
                     of_cols ? halved(rect.cols) : rect.cols};
  const uint64_t width = half.cols.length();
  for (uint64_t i = 0; i < half.rows.length(); ++i) {
    std::byte* to = bytes + i * width;
    const std::byte* low = codes + (of_cols ? i : 2 * i) * cols;
    if (of_cols) {
      for (uint64_t j = 0; j < cols / 2; ++j) to[j] = low[2 * j] | low[2 * j + 1] << 4;
      if (cols % 2 != 0) to[cols / 2] = low[cols - 1] | padding << 4;
    } else if (2 * i + 1 < rows) {
      for (uint64_t j = 0; j < cols; ++j) to[j] = low[j] | low[j + cols] << 4;
    } else {
      for (uint64_t j = 0; j < cols; ++j) to[j] = low[j] | padding << 4;
    }
  }
  const Extents all = mapping.extents();
  const auto view =
      mapping_of_pairs(mapping, {of_cols ? all.rows : ceil_div<uint64_t>(all.rows, 2),
                                 of_cols ? ceil_div<uint64_t>(all.cols, 2) : all.cols});
  for_each_panel(view, half, [&](const Panel& panel) {
    copy_panel(panel, data, half, ConstRows{bytes, width}, 1);
  });
}

template <class Mapping>
void load_nibbles(const Mapping& mapping, const std::byte* data, const Rect& rect,
                  std::byte* codes) {
  const Pairs pairs = pairs_of(mapping);
  const uint64_t rows = rect.rows.length(), cols = rect.cols.length();
  if (pairs == Pairs::kMixed) {
    for_each_element(mapping, rect, [&](uint64_t offset, uint64_t i) {
      codes[i] = static_cast<std::byte>(nibble(data, offset));
    });
    return;
  }
  alignas(64) std::byte bytes[kPieceElems];
  const bool of_cols = pairs == Pairs::kCols;
  const Rect half = {of_cols ? rect.rows : halved(rect.rows),
                     of_cols ? halved(rect.cols) : rect.cols};
  const uint64_t width = half.cols.length();
  const Extents all = mapping.extents();
  const auto view =
      mapping_of_pairs(mapping, {of_cols ? all.rows : ceil_div<uint64_t>(all.rows, 2),
                                 of_cols ? ceil_div<uint64_t>(all.cols, 2) : all.cols});
  for_each_panel(view, half, [&](const Panel& panel) {
    copy_panel(panel, data, half, Rows{bytes, width}, 1);
  });
  for (uint64_t row = 0; row < rows; ++row) {
    for (uint64_t col = 0; col < cols; ++col) {
      const std::byte pair = of_cols ? bytes[row * width + col / 2] : bytes[row / 2 * width + col];
      const bool high = (of_cols ? col : row) % 2 != 0;
      codes[row * cols + col] = high ? pair >> 4 : pair & std::byte{15};
    }
  }
}

class QuantPacker {
 public:
  QuantPacker(const ConstHostMatrix& src, const HostMatrix& dst)
      : src_(src),
        dst_(dst),
        src_scales_(make_scale_mapping(src.mapping, src.dtype).value()),
        dst_scales_(make_scale_mapping(dst.mapping, dst.dtype).value()) {}

  // Fills what is no element: padding, the gap, and the scales.
  void fill_padding(uint32_t thread, uint32_t num_threads) const {
    const auto fill = [&](uint64_t begin, uint64_t end, uint8_t value) {
      const Range share = share_of(end - begin, 4096, thread, num_threads);
      std::memset(dst_.data + begin + share.begin, value, share.length());
    };
    const uint64_t code_bytes = dst_.mapping.span_bytes();
    const uint8_t code = is_quantized(dst_.dtype) ? padding_code(dst_.dtype) : uint8_t{0};
    const bool is_nibble = element_bits(dst_.dtype) == 4;
    if (!dst_.mapping.is_exhaustive() || is_nibble) {
      fill(0, code_bytes, is_nibble ? static_cast<uint8_t>(code * 0x11u) : code);
    }
    if (!is_quantized(dst_.dtype)) return;
    fill(code_bytes, scales_offset_of(dst_.mapping, dst_.dtype) + dst_scales_.span_bytes(), 0);
  }

  // All cols of these rows, which begin at an even row. Returns the first refused block, counted
  // row by row over the whole matrix, or kNoBlock.
  uint64_t pack_rows(Range rows) const {
    const bool tall = src_.mapping.layout().kind == LayoutKind::kColMajor ||
                      dst_.mapping.layout().kind == LayoutKind::kColMajor;
    const uint64_t block = std::max(block_cols(src_.dtype), block_cols(dst_.dtype));
    const uint64_t width = tall ? std::max(kTallPieceCols, block) : kPieceCols;
    const uint64_t height = kPieceElems / width;
    uint64_t refused = kNoBlock;
    const uint64_t num_cols = src_.mapping.extents().cols;
    for (uint64_t row = rows.begin; row < rows.end; row += height) {
      for (uint64_t col = 0; col < num_cols; col += width) {
        const Rect rect = {{row, std::min(row + height, rows.end)},
                           {col, std::min(col + width, num_cols)}};
        refused = std::min(refused, pack_piece(rect));
      }
    }
    return refused;
  }

 private:
  uint64_t pack_piece(const Rect& rect) const {
    alignas(64) std::byte codes[kPieceElems];
    if (src_.dtype == dst_.dtype) {
      load_codes(rect, codes);
      store_codes(rect, codes);
      copy_scales(rect);
      return kNoBlock;
    }
    alignas(64) float values[kPieceElems];
    if (is_quantized(src_.dtype)) {
      load_codes(rect, codes);
      dequantize(rect, codes, values);
    } else {
      load_values(rect, values);
    }
    if (!is_quantized(dst_.dtype)) {
      store_values(rect, values);
      return kNoBlock;
    }
    const uint64_t refused = quantize(rect, values, codes);
    store_codes(rect, codes);
    return refused;
  }

  void load_codes(const Rect& rect, std::byte* codes) const {
    if (element_bits(src_.dtype) == 8) return copy_rect(src_.mapping, src_.data, rect, codes, 1);
    src_.mapping.visit([&](const auto& typed) { load_nibbles(typed, src_.data, rect, codes); });
  }

  void store_codes(const Rect& rect, const std::byte* codes) const {
    if (element_bits(dst_.dtype) == 8) return copy_rect(dst_.mapping, dst_.data, rect, codes, 1);
    const std::byte padding{padding_code(dst_.dtype)};
    dst_.mapping.visit(
        [&](const auto& typed) { store_nibbles(typed, dst_.data, rect, codes, padding); });
  }

  void load_values(const Rect& rect, float* values) const {
    const uint32_t elem_bytes = element_bits(src_.dtype) / 8;
    const uint64_t cols = rect.cols.length();
    if (src_.dtype == DType::kF32) {
      return copy_rect(src_.mapping, src_.data, rect, reinterpret_cast<std::byte*>(values), 4);
    }
    alignas(64) std::byte loaded[kScratchBytes];
    copy_rect(src_.mapping, src_.data, rect, loaded, elem_bytes);
    convert_run(loaded, src_.dtype, reinterpret_cast<std::byte*>(values), DType::kF32,
                rect.rows.length() * cols);
  }

  void store_values(const Rect& rect, const float* values) const {
    const auto* bytes = reinterpret_cast<const std::byte*>(values);
    if (dst_.dtype == DType::kF32) return copy_rect(dst_.mapping, dst_.data, rect, bytes, 4);
    alignas(64) std::byte converted[kScratchBytes];
    convert_run(bytes, DType::kF32, converted, dst_.dtype, rect.rows.length() * rect.cols.length());
    copy_rect(dst_.mapping, dst_.data, rect, static_cast<const std::byte*>(converted),
              element_bits(dst_.dtype) / 8);
  }

  // The scales of one row of a piece: at most four bytes for 32 cols.
  using RowScales = std::byte[kPieceCols / 32 * 4];

  // Calls f(the index of a block in the matrix, where its scale is in `scales`, those of a row of
  // the piece).
  template <class Byte, class F>
  static void for_each_block(DType dtype, Range cols, Byte* scales, F&& f) {
    const uint64_t first = cols.begin / block_cols(dtype);
    for (uint64_t block = first; block < num_blocks(cols.end, dtype); ++block) {
      f(block, scales + (block - first) * scale_bytes(dtype));
    }
  }

  void load_scales(uint64_t row, Range cols, std::byte* scales) const {
    const std::byte* section = src_.data + scales_offset_of(src_.mapping, src_.dtype);
    for_each_block(src_.dtype, cols, scales, [&](uint64_t block, std::byte* scale) {
      load_scale(section, src_scales_, src_.dtype, row, block, scale);
    });
  }

  void store_scales(uint64_t row, Range cols, const std::byte* scales) const {
    std::byte* section = dst_.data + scales_offset_of(dst_.mapping, dst_.dtype);
    for_each_block(dst_.dtype, cols, scales, [&](uint64_t block, const std::byte* scale) {
      store_scale(section, dst_scales_, dst_.dtype, row, block, scale);
    });
  }

  uint64_t quantize(const Rect& rect, const float* values, std::byte* codes) const {
    const uint64_t cols = rect.cols.length();
    uint64_t refused = kNoBlock;
    for (uint64_t row = 0; row < rect.rows.length(); ++row) {
      alignas(4) RowScales scales = {};
      const uint64_t block = quantize_run(values + row * cols, cols, dst_.dtype,
                                          reinterpret_cast<uint8_t*>(codes) + row * cols, scales);
      const uint64_t matrix_row = rect.rows.begin + row;
      if (block != kNoBlock && refused == kNoBlock) {
        refused = matrix_row * num_blocks(dst_.mapping.extents().cols, dst_.dtype) +
                  rect.cols.begin / block_cols(dst_.dtype) + block;
      }
      store_scales(matrix_row, rect.cols, scales);
    }
    return refused;
  }

  void dequantize(const Rect& rect, const std::byte* codes, float* values) const {
    const uint64_t cols = rect.cols.length();
    for (uint64_t row = 0; row < rect.rows.length(); ++row) {
      alignas(4) RowScales scales = {};
      load_scales(rect.rows.begin + row, rect.cols, scales);
      dequantize_run(reinterpret_cast<const uint8_t*>(codes) + row * cols, scales, cols, src_.dtype,
                     values + row * cols);
    }
  }

  void copy_scales(const Rect& rect) const {
    for (uint64_t row = rect.rows.begin; row < rect.rows.end; ++row) {
      alignas(4) RowScales scales = {};
      load_scales(row, rect.cols, scales);
      store_scales(row, rect.cols, scales);
    }
  }

  const ConstHostMatrix& src_;
  const HostMatrix& dst_;
  AnyMapping src_scales_;
  AnyMapping dst_scales_;
};

// Rows that one thread packs alone. No byte may belong to two of them: rows of whole blocks do,
// where pairs are not mixed; else one thread does all.
uint64_t unit_rows(const AnyMapping& mapping, DType dtype) {
  constexpr uint64_t kUnitRows = 64;
  const Layout& layout = mapping.layout();
  const uint64_t block_rows = std::max<uint64_t>(layout.rows, 1);
  const bool mixed = element_bits(dtype) == 4 && mapping.visit([](const auto& typed) {
    return pairs_of(typed) == Pairs::kMixed;
  });
  const bool even_tiles = layout.kind == LayoutKind::kMorton && layout.rows % 2 == 0;
  if (mixed && !even_tiles) return std::max<uint64_t>(mapping.extents().rows, 1);
  // Even, so that a pair of rows is in one unit.
  return round_up(kUnitRows, block_rows * (block_rows % 2 == 0 ? 1 : 2));
}

}  // namespace

std::optional<RefusedBlock> pack_quant(const ConstHostMatrix& src, const HostMatrix& dst,
                                       ThreadPool& pool) noexcept {
  const QuantPacker packer(src, dst);
  const uint64_t num_rows = dst.mapping.extents().rows;
  const uint64_t step = unit_rows(dst.mapping, dst.dtype);
  std::atomic<uint64_t> refused{kNoBlock};
  pool.run([&](uint32_t thread) {
    packer.fill_padding(thread, pool.num_threads());
    pool.barrier();
    const Range share = share_of(num_rows, step, thread, pool.num_threads());
    if (share.empty()) return;
    const uint64_t mine = packer.pack_rows(share);
    uint64_t seen = refused.load(std::memory_order_relaxed);
    while (mine < seen && !refused.compare_exchange_weak(seen, mine)) {
    }
  });
  const uint64_t first = refused.load();
  if (first == kNoBlock) return std::nullopt;
  const uint64_t across = num_blocks(dst.mapping.extents().cols, dst.dtype);
  return RefusedBlock{first / across, first % across * block_cols(dst.dtype)};
}

}  // namespace skein
