// What repeated measurements are summed up by.
#pragma once

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace skein {

// The value that `share` (0 to 1) of the values lie below, linear between two of them: 0.5 is the
// median. At least one value.
inline double quantile(std::vector<double> values, double share) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace skein
