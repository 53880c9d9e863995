// Tensor: a matrix of weights somewhere in memory: buffer + byte offset + dtype + mapping. A
// quantized one is two sections in one span, codes and scales (sections.h).
//
// A matrix has rows = outputs and cols = inputs (the dimension summed over); a vector is a matrix
// of one row. The mapping (layout/any_mapping.h) says at which element of the span (row, col) lies.
// Tensors are cheap values that share their buffer; they neither own a device nor know one.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "base/bits.h"
#include "base/check.h"
#include "layout/any_mapping.h"
#include "tensor/buffer.h"
#include "tensor/dtype.h"
#include "tensor/sections.h"

namespace skein {

class Tensor {
 public:
  Tensor() = default;

  // Precondition: the span of `mapping`, scales included, lies inside `buffer` from `offset_bytes`
  // on; make_scale_mapping() succeeds.
  Tensor(std::shared_ptr<Buffer> buffer, uint64_t offset_bytes, DType dtype,
         const AnyMapping& mapping)
      : buffer_(std::move(buffer)), offset_bytes_(offset_bytes), dtype_(dtype), mapping_(mapping) {
    if (is_quantized(dtype_)) scales_mapping_ = make_scale_mapping(mapping_, dtype_).value();
    DCHECK(buffer_ != nullptr && offset_bytes_ + span_bytes() <= buffer_->num_bytes());
  }

  // False for a tensor that the model does not have (layer 0 needs no v0, v1, v2).
  explicit operator bool() const noexcept { return buffer_ != nullptr; }

  DType dtype() const noexcept { return dtype_; }
  const AnyMapping& mapping() const noexcept { return mapping_; }
  const Layout& layout() const noexcept { return mapping_.layout(); }
  uint64_t rows() const noexcept { return mapping_.extents().rows; }
  uint64_t cols() const noexcept { return mapping_.extents().cols; }

  // num_elems: logical elements. span_elems: what the mapping needs, padding included. span_bytes:
  // the same in bytes, scales included.
  uint64_t num_elems() const noexcept { return rows() * cols(); }
  uint64_t span_elems() const noexcept { return mapping_.required_span_size(); }
  uint64_t span_bytes() const noexcept { return span_bytes_of(mapping_, dtype_); }

  const std::shared_ptr<Buffer>& buffer() const noexcept { return buffer_; }
  uint64_t offset_bytes() const noexcept { return offset_bytes_; }

  // The first byte of the span; the buffer must be visible to the host. Any alignment: mapped files
  // promise none.
  std::byte* host_data() const noexcept {
    DCHECK(buffer_ != nullptr && buffer_->host_data() != nullptr);
    return buffer_->host_data() + offset_bytes_;
  }

  // The scales of a quantized tensor, [rows][num_blocks * scale_words] of scale_word_bytes(dtype())
  // (sections.h): where they lie in their section, the section's start, and that as an offset from
  // the start of the span.
  const AnyMapping& scales_mapping() const noexcept { return scales_mapping_; }
  std::byte* scales_data() const noexcept { return host_data() + scales_offset_bytes(); }
  uint64_t scales_offset_bytes() const noexcept { return scales_offset_of(mapping_, dtype_); }

  static uint64_t span_bytes_of(const AnyMapping& mapping, DType dtype) noexcept {
    if (!is_quantized(dtype)) return mapping.span_bytes();
    return scales_offset_of(mapping, dtype) +
           make_scale_mapping(mapping, dtype).value().span_bytes();
  }

 private:
  std::shared_ptr<Buffer> buffer_;
  uint64_t offset_bytes_ = 0;
  DType dtype_ = DType::kF32;
  AnyMapping mapping_;
  AnyMapping scales_mapping_;
};

}  // namespace skein
