// pack() in three steps for one piece of the matrix at a time, each step in the first-level cache:
// load from the source's layout into row order, convert, store into the destination's layout. A
// step that has nothing to do is skipped: row-ordered sources are read in place, row-ordered
// destinations written in place. So n layouts and m dtypes need n loads, n stores and m * m
// conversions, and every pair runs at about the speed of memory.
// All layouts look alike from close by: pack_panels.h. Quantized matrices: pack_quant.cc.
#include "tensor/pack.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/bits.h"
#include "base/check.h"
#include "tensor/pack_kernels.h"
#include "tensor/pack_panels.h"
#include "tensor/pack_quant.h"

namespace skein {
namespace {

// The copying of one pack(), with typed mappings.
template <class SrcMapping, class DstMapping>
class Packer {
 public:
  Packer(const ConstHostMatrix& src, const SrcMapping& src_mapping, const HostMatrix& dst,
         const DstMapping& dst_mapping)
      : src_(src.data),
        dst_(dst.data),
        src_dtype_(src.dtype),
        dst_dtype_(dst.dtype),
        src_mapping_(src_mapping),
        dst_mapping_(dst_mapping) {}

  // The elements of `rect`, of any size.
  void copy(const Rect& rect) const {
    const Extents piece = piece_extents(rect);
    for (Range rows = rect.rows; !rows.empty(); rows.begin = head_of(rows, piece.rows).end) {
      for (Range cols = rect.cols; !cols.empty(); cols.begin = head_of(cols, piece.cols).end) {
        copy_piece({head_of(rows, piece.rows), head_of(cols, piece.cols)});
      }
    }
  }

 private:
  static constexpr bool kSrcInRows = std::is_same_v<SrcMapping, RowMajor>;
  static constexpr bool kDstInRows = std::is_same_v<DstMapping, RowMajor>;
  static constexpr bool kDstInCols = std::is_same_v<DstMapping, ColMajor>;

  // As wide as the layouts allow, since the longer the runs of a row are, the better the memory's
  // prefetchers follow. Rows to rows needs no scratch: any length goes.
  Extents piece_extents(const Rect& rect) const {
    if (kSrcInRows && kDstInRows) return {1, rect.cols.length()};
    const bool has_cols = std::is_same_v<SrcMapping, ColMajor> || kDstInCols;
    const uint64_t height = has_cols     ? kPieceDim
                            : kDstInRows ? piece_height(src_mapping_)
                                         : piece_height(dst_mapping_);
    return {height, kPieceElems / height / kPieceDim * kPieceDim};
  }

  void copy_piece(const Rect& rect) const {
    alignas(64) std::byte loaded[kScratchBytes];
    alignas(64) std::byte converted[kScratchBytes];
    const uint32_t src_bytes = element_bits(src_dtype_) / 8;
    const uint32_t dst_bytes = element_bits(dst_dtype_) / 8;
    const bool converts = src_dtype_ != dst_dtype_;

    Rows target = {converted, rect.cols.length() * dst_bytes};
    if constexpr (kDstInRows) {
      target = {dst_ + dst_mapping_(rect.rows.begin, rect.cols.begin) * dst_bytes,
                dst_mapping_.row_stride() * dst_bytes};
    }
    ConstRows source = {};
    if constexpr (kSrcInRows) {
      source = {src_ + src_mapping_(rect.rows.begin, rect.cols.begin) * src_bytes,
                src_mapping_.row_stride() * src_bytes};
      if (kDstInCols) {
        prefetch_runs<kForReading>(
            reinterpret_cast<uintptr_t>(source.data) + rect.cols.length() * src_bytes,
            source.stride_bytes, rect.rows.length(), rect.cols.length() * src_bytes);
      }
    } else {
      const Rows load_to = converts ? Rows{loaded, rect.cols.length() * src_bytes} : target;
      for_each_panel(src_mapping_, rect, [&](const Panel& panel) {
        copy_panel(panel, src_, rect, load_to, src_bytes);
      });
      source = {load_to.data, load_to.stride_bytes};
    }
    if (converts) {
      for (uint64_t row = 0; row < rect.rows.length(); ++row) {
        convert_run(source.data + row * source.stride_bytes, src_dtype_,
                    target.data + row * target.stride_bytes, dst_dtype_, rect.cols.length());
      }
      source = {target.data, target.stride_bytes};
    }
    if constexpr (kDstInRows) {
      if (kSrcInRows && !converts) {
        for (uint64_t row = 0; row < rect.rows.length(); ++row) {
          std::memcpy(target.data + row * target.stride_bytes,
                      source.data + row * source.stride_bytes, rect.cols.length() * dst_bytes);
        }
      }
    } else {
      for_each_panel(dst_mapping_, rect,
                     [&](const Panel& panel) { copy_panel(panel, dst_, rect, source, dst_bytes); });
    }
  }

  const std::byte* src_;
  std::byte* dst_;
  DType src_dtype_;
  DType dst_dtype_;
  SrcMapping src_mapping_;
  DstMapping dst_mapping_;
};

// A unit is what one thread packs alone, padding included: whole blocks, up to 512 KiB of 2-byte
// elements, which take tens of microseconds. More cols than rows, since a mapped file has small
// pages: a few rows at a time miss the page table less often than many.
constexpr uint64_t kUnitRows = 64;
constexpr uint64_t kUnitCols = 4096;

Extents unit_of(const RowMajor& mapping) { return {kUnitRows, mapping.extents().cols}; }
Extents unit_of(const ColMajor&) { return {kUnitRows, kUnitCols}; }
Extents unit_of(const Interleave& mapping) {
  return {round_up<uint64_t>(kUnitRows, mapping.block_rows()),
          round_up<uint64_t>(kUnitCols, mapping.block_cols())};
}
Extents unit_of(const Morton& mapping) {
  return {round_up<uint64_t>(kUnitRows, mapping.side()),
          round_up<uint64_t>(kUnitCols, mapping.side())};
}

void zero(std::byte* data, Range elems, uint32_t elem_bytes) {
  std::memset(data + elems.begin * elem_bytes, 0, elems.length() * elem_bytes);
}

// Zeroes the padding that belongs to the unit `rect`; before its elements are written, since of a
// block at the edge everything is zeroed.
void zero_padding(const RowMajor& mapping, const Rect& rect, std::byte* data, uint32_t elem_bytes) {
  const uint64_t cols = mapping.extents().cols;
  for (uint64_t row = rect.rows.begin; row < rect.rows.end; ++row) {
    const uint64_t start = row * mapping.row_stride();
    zero(data, {start + cols, start + mapping.row_stride()}, elem_bytes);
  }
}

void zero_padding(const ColMajor& mapping, const Rect& rect, std::byte* data, uint32_t elem_bytes) {
  const uint64_t rows = mapping.extents().rows;
  if (rect.rows.end != rows) return;
  for (uint64_t col = rect.cols.begin; col < rect.cols.end; ++col) {
    const uint64_t start = col * mapping.col_stride();
    zero(data, {start + rows, start + mapping.col_stride()}, elem_bytes);
  }
}

// A block or tile of `block` elements at `start`, the next one `stride` elements behind it.
void zero_block(Extents block, bool at_edge, uint64_t start, uint64_t stride, std::byte* data,
                uint32_t elem_bytes) {
  zero(data, {at_edge ? start : start + block.num_elems(), start + stride}, elem_bytes);
}

template <class Mapping>
void zero_block_padding(const Mapping& mapping, Extents block, uint64_t stride, const Rect& rect,
                        std::byte* data, uint32_t elem_bytes) {
  if (mapping.is_exhaustive()) return;
  const Extents extents = mapping.extents();
  for (uint64_t row = rect.rows.begin; row < rect.rows.end; row += block.rows) {
    for (uint64_t col = rect.cols.begin; col < rect.cols.end; col += block.cols) {
      const bool at_edge = row + block.rows > extents.rows || col + block.cols > extents.cols;
      zero_block(block, at_edge, mapping(row, col), stride, data, elem_bytes);
    }
  }
}

void zero_padding(const Interleave& mapping, const Rect& rect, std::byte* data,
                  uint32_t elem_bytes) {
  zero_block_padding(mapping, {mapping.block_rows(), mapping.block_cols()}, mapping.block_stride(),
                     rect, data, elem_bytes);
}

void zero_padding(const Morton& mapping, const Rect& rect, std::byte* data, uint32_t elem_bytes) {
  zero_block_padding(mapping, {mapping.side(), mapping.side()}, mapping.tile_stride(), rect, data,
                     elem_bytes);
}

template <class SrcMapping, class DstMapping>
void pack_typed(const Packer<SrcMapping, DstMapping>& packer, const DstMapping& mapping,
                const HostMatrix& dst, ThreadPool& pool) {
  const Extents extents = mapping.extents();
  const Extents unit = unit_of(mapping);
  const uint64_t units_across = ceil_div(extents.cols, unit.cols);
  const uint64_t num_units = ceil_div(extents.rows, unit.rows) * units_across;
  const uint32_t elem_bytes = element_bits(dst.dtype) / 8;
  pool.run([&](uint32_t thread) {
    const Range share = share_of(num_units, 1, thread, pool.num_threads());
    for (uint64_t i = share.begin; i < share.end; ++i) {
      const uint64_t row = i / units_across * unit.rows;
      const uint64_t col = i % units_across * unit.cols;
      const Rect rect = {{row, std::min(row + unit.rows, extents.rows)},
                         {col, std::min(col + unit.cols, extents.cols)}};
      zero_padding(mapping, rect, dst.data, elem_bytes);
      packer.copy(rect);
    }
  });
}

}  // namespace

std::optional<RefusedBlock> pack(const ConstHostMatrix& src, const HostMatrix& dst,
                                 ThreadPool& pool) noexcept {
  CHECK(src.mapping.extents() == dst.mapping.extents());
  CHECK(src.mapping.element_bits() == element_bits(src.dtype));
  CHECK(dst.mapping.element_bits() == element_bits(dst.dtype));
  if (dst.mapping.required_span_size() == 0) return std::nullopt;  // the mapping of no matrix
  if (is_quantized(src.dtype) || is_quantized(dst.dtype)) return pack_quant(src, dst, pool);
  src.mapping.visit([&](const auto& src_mapping) {
    dst.mapping.visit([&](const auto& dst_mapping) {
      pack_typed(Packer(src, src_mapping, dst, dst_mapping), dst_mapping, dst, pool);
    });
  });
  return std::nullopt;
}

}  // namespace skein
