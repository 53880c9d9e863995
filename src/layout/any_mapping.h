// AnyMapping: a mapping whose kind is known at run time, and make_mapping(), the gate through which
// layouts from the world become mappings.
//
// Goals: what make_mapping() returns can be used without further checks. Non-goals: speed per
// element; a kernel asks visit() once for the typed mapping and keeps it.
#pragma once

#include <cstdint>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/result.h"
#include "layout/extents.h"
#include "layout/layout.h"
#include "layout/mapping.h"

namespace skein {

class AnyMapping {
 public:
  using Typed = std::variant<RowMajor, ColMajor, Interleave, Morton>;

  // The mapping of no matrix: 0 x 0, an empty span.
  AnyMapping() : element_bits_(8), typed_(RowMajor({0, 0}, 0)) {}

  const Layout& layout() const noexcept { return layout_; }
  Extents extents() const noexcept { return extents_; }
  uint32_t element_bits() const noexcept { return element_bits_; }

  // Calls f with the typed mapping: RowMajor, ColMajor, Interleave (for tile too) or Morton.
  template <class F>
  decltype(auto) visit(F&& f) const {
    return std::visit(std::forward<F>(f), typed_);
  }

  // The element's offset, in elements; row < rows, col < cols.
  uint64_t operator()(uint64_t row, uint64_t col) const {
    DCHECK(row < extents_.rows && col < extents_.cols);
    return visit([=](const auto& typed) { return typed(row, col); });
  }

  // span_elems: the elements the mapping needs, padding included; below 2^63.
  uint64_t required_span_size() const noexcept { return span_elems_; }
  // The bytes of that, rounded up to a whole byte for 4-bit elements.
  uint64_t span_bytes() const noexcept {
    return (span_elems_ / 8) * element_bits_ + ((span_elems_ % 8) * element_bits_ + 7) / 8;
  }

  bool is_unique() const noexcept { return true; }
  bool is_exhaustive() const noexcept { return span_elems_ == extents_.num_elems(); }
  bool is_strided() const {
    return visit([](const auto& typed) { return typed.is_strided(); });
  }

 private:
  friend Result<AnyMapping> make_mapping(const Layout& layout, Extents extents,
                                         uint32_t element_bits);
  AnyMapping(const Layout& layout, uint32_t element_bits, const Typed& typed)
      : layout_(layout), element_bits_(element_bits), typed_(typed) {
    extents_ = visit([](const auto& t) { return t.extents(); });
    span_elems_ = visit([](const auto& t) { return t.required_span_size(); });
  }

  Layout layout_;
  Extents extents_;
  uint32_t element_bits_;
  uint64_t span_elems_ = 0;
  Typed typed_;
};

// The mapping of `layout` over `extents`, for elements of 4, 8, 16 or 32 bits (which alignment
// needs). Fails where the layout is invalid, an extent is 0, an element is no whole part of the
// alignment, or the span is 2^63 bytes or more.
Result<AnyMapping> make_mapping(const Layout& layout, Extents extents, uint32_t element_bits);

}  // namespace skein
