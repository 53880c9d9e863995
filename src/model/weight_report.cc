#include "model/weight_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/bits.h"

namespace skein {

WeightReport make_report(const WeightSpec& spec, DType file_dtype, DType dtype,
                         const AnyMapping& mapping) {
  const uint64_t elem_bytes = ceil_div<uint64_t>(spec.rows * spec.cols * element_bits(dtype), 8);
  const uint64_t all_scale_bytes =
      is_quantized(dtype) ? spec.rows * num_blocks(spec.cols, dtype) * scale_bytes(dtype) : 0;
  return {spec.label(),
          spec.group,
          file_dtype,
          dtype,
          mapping.layout(),
          spec.rows,
          spec.cols,
          Tensor::span_bytes_of(mapping, dtype),
          elem_bytes + all_scale_bytes,
          to_string(file_dtype)};
}

GroupDTypes file_dtypes_of(std::span<const WeightReport> reports) {
  GroupDTypes result = kPlainGroups;
  for (size_t i = 0; i < kMatrixGroups.size(); ++i) {
    std::array<uint64_t, kAllDTypes.size()> elems{};
    for (const WeightReport& report : reports) {
      if (report.group != kMatrixGroups[i]) continue;
      const DType dtype = is_quantized(report.file_dtype) ? report.file_dtype : DType::kF16;
      elems[static_cast<size_t>(dtype)] += report.rows * report.cols;
    }
    const auto most = std::max_element(elems.begin(), elems.end());
    if (*most != 0) result[i] = static_cast<DType>(most - elems.begin());
  }
  return result;
}

std::optional<std::string> padding_warning(std::span<const WeightReport> reports,
                                           const std::string& path) {
  uint64_t num_bytes = 0, logical_bytes = 0;
  for (const WeightReport& report : reports) {
    num_bytes += report.num_bytes;
    logical_bytes += report.logical_bytes;
  }
  if (num_bytes <= logical_bytes + logical_bytes / 2) return std::nullopt;
  return fmt::format(
      "{}: padding makes {} bytes of weights {}: {:.1f} times as many; smaller blocks or "
      "alignments need less",
      path, logical_bytes, num_bytes,
      static_cast<double>(num_bytes) / static_cast<double>(logical_bytes));
}

}  // namespace skein
