#include "model/matrix_kinds.h"

#include <algorithm>
#include <charconv>
#include <tuple>

#include "model/model_file.h"
#include "model/plain_tensor.h"
#include "model/weight_list.h"

namespace skein {
namespace {

bool is_matrix(WeightGroup group) noexcept {
  return std::find(kMatrixGroups.begin(), kMatrixGroups.end(), group) != kMatrixGroups.end();
}

void add(std::vector<MatrixKind>& kinds, WeightGroup group, DType dtype, uint64_t rows,
         uint64_t cols) {
  auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const MatrixKind& k) {
    return k.group == group && k.dtype == dtype;
  });
  if (kind == kinds.end()) kind = kinds.insert(kind, {group, dtype, {}});
  for (MatrixShape& shape : kind->shapes) {
    if (shape.rows != rows || shape.cols != cols) continue;
    ++shape.count;
    return;
  }
  kind->shapes.push_back({rows, cols, 1});
}

std::vector<MatrixKind> sorted(std::vector<MatrixKind> kinds) {
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const MatrixKind& a, const MatrixKind& b) { return a.group < b.group; });
  for (MatrixKind& kind : kinds) sort_shapes(kind.shapes);
  return kinds;
}

// The layer of "blocks.3.att.key.weight"; nothing for what lies outside of layers.
std::optional<uint32_t> layer_of(std::string_view name) {
  constexpr std::string_view kBlocks = "blocks.";
  if (!name.starts_with(kBlocks)) return std::nullopt;
  uint32_t layer = 0;
  std::from_chars(name.data() + kBlocks.size(), name.data() + name.size(), layer);
  return layer;
}

Result<DType> file_dtype_of(const ModelTensors& file, const std::string& path,
                            const std::string& name) {
  const TensorInfo* tensor = file.find(name);
  if (tensor == nullptr) return error("{}: expected a tensor '{}', found none", path, name);
  if (const std::optional<DType> dtype = kept_dtype(tensor->dtype)) return *dtype;
  if (const std::optional<DType> dtype = plain_dtype(tensor->dtype)) return *dtype;
  return error("{}: tensor '{}': expected dtype F32, F16 or BF16, found {}", path, name,
               file_dtype_name(tensor->dtype));
}

}  // namespace

void sort_shapes(std::vector<MatrixShape>& shapes) {
  std::sort(shapes.begin(), shapes.end(), [](const MatrixShape& a, const MatrixShape& b) {
    return std::tie(a.rows, a.cols) < std::tie(b.rows, b.cols);
  });
}

bool same_shapes(std::span<const MatrixShape> a, std::span<const MatrixShape> b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const MatrixShape& x, const MatrixShape& y) {
                      return x.rows == y.rows && x.cols == y.cols;
                    });
}

std::vector<MatrixKind> matrix_kinds(std::span<const WeightReport> reports) {
  std::vector<MatrixKind> kinds;
  for (const WeightReport& report : reports) {
    if (is_matrix(report.group)) add(kinds, report.group, report.dtype, report.rows, report.cols);
  }
  return sorted(std::move(kinds));
}

Result<std::vector<MatrixKind>> read_matrix_kinds(const std::string& path, const WeightPlan& plan) {
  SKEIN_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::open(path));
  if (file.packed() != nullptr) {
    return error("{}: expected a model as it was trained, found one of skein pack", path);
  }
  Weights unused;
  std::vector<MatrixKind> kinds;
  for (const WeightSpec& spec : list_weights(file.dims(), unused)) {
    if (!is_matrix(spec.group)) continue;
    const std::string& name = spec.names.front();
    SKEIN_ASSIGN_OR_RETURN(const DType file_dtype, file_dtype_of(file.tensors(), path, name));
    const DType dtype = plan.dtype_of(spec.group, layer_of(name)).value_or(file_dtype);
    add(kinds, spec.group, dtype, spec.rows, spec.cols);
  }
  return sorted(std::move(kinds));
}

std::vector<MatrixKind> packed_matrix_kinds(const ModelFile& file) {
  Weights unused;
  std::vector<MatrixKind> kinds;
  for (const WeightSpec& spec : list_weights(file.dims(), unused)) {
    const auto weight = file.packed()->weights.find(spec.label());
    if (!is_matrix(spec.group) || weight == file.packed()->weights.end()) continue;
    add(kinds, spec.group, weight->second.dtype, spec.rows, spec.cols);
  }
  return sorted(std::move(kinds));
}

std::optional<Layout> packed_layout(const ModelFile& file, const MatrixKind& kind) {
  Weights unused;
  std::optional<Layout> layout;
  for (const WeightSpec& spec : list_weights(file.dims(), unused)) {
    const auto& weights = file.packed()->weights;
    const auto weight = weights.find(spec.label());
    if (spec.group != kind.group || weight == weights.end()) continue;
    if (weight->second.dtype != kind.dtype) continue;
    if (layout && *layout != weight->second.layout) return std::nullopt;
    layout = weight->second.layout;
  }
  return layout;
}

}  // namespace skein
