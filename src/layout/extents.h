// Extents: how many rows and cols a matrix has. rows = outputs, cols = inputs (the dimension summed
// over). Compiled by nvcc too, so no fmt and no tl::expected here.
#pragma once

#include <cstdint>

#include "layout/host_device.h"

namespace skein {

struct Extents {
  uint64_t rows = 0;
  uint64_t cols = 0;

  // The logical elements, without any padding. The product must be representable; make_mapping()
  // proves that it is.
  SKEIN_HD constexpr uint64_t num_elems() const noexcept { return rows * cols; }

  SKEIN_HD friend constexpr bool operator==(const Extents& a, const Extents& b) noexcept {
    return a.rows == b.rows && a.cols == b.cols;
  }
};

}  // namespace skein
