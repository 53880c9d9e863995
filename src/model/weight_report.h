// WeightReport: what is said of one weight of a loaded or packed model: how it lies, and what that
// costs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "model/weight_list.h"
#include "model/weight_plan.h"
#include "tensor/tensor.h"

namespace skein {

struct WeightReport {
  std::string label;
  WeightGroup group;
  DType file_dtype, dtype;  // in the file, of ggml's codecs what it is decoded to or stays in; now
  Layout layout;
  uint64_t rows, cols;
  uint64_t num_bytes;          // in memory, padding included
  uint64_t logical_bytes;      // of the elements and their scales alone
  std::string_view file_type;  // in the file: the name of file_dtype, or of a block codec ("Q4_K")

  // What alignment and blocks at the edges add.
  uint64_t padding_bytes() const noexcept { return num_bytes - logical_bytes; }
};

// `mapping` is of `dtype` and of the spec's rows and cols.
WeightReport make_report(const WeightSpec& spec, DType file_dtype, DType dtype,
                         const AnyMapping& mapping);

// For WeightPlan::file_dtypes.
GroupDTypes file_dtypes_of(std::span<const WeightReport> reports);

// A line where padding makes the weights more than half again as many bytes; nothing otherwise.
std::optional<std::string> padding_warning(std::span<const WeightReport> reports,
                                           const std::string& path);

}  // namespace skein
