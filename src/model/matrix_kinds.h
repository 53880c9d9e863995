// MatrixKind: the matrices of a model that a plan gives one layout to, and what a plan file knows a
// model by.
//
// Two models whose kinds are equal, number of layers aside, want the same layouts on the same
// machine: everything that a kernel's speed depends on is here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/rwkv7.h"
#include "model/weight_plan.h"

namespace skein {

struct MatrixShape {
  uint64_t rows = 0, cols = 0;
  uint32_t count = 1;  // matrices of that shape in the model
};

// Whether they are the same shapes, whatever their counts. Both are sorted.
bool same_shapes(std::span<const MatrixShape> a, std::span<const MatrixShape> b) noexcept;

// // By rows, then cols.
void sort_shapes(std::vector<MatrixShape>& shapes);

// Every matrix of one group that has one dtype.
struct MatrixKind {
  WeightGroup group = WeightGroup::kAttention;
  DType dtype = DType::kF16;
  std::vector<MatrixShape> shapes;  // distinct, sorted by rows, then cols
};

// Of a loaded model, in the order of kMatrixGroups.
std::vector<MatrixKind> matrix_kinds(std::span<const WeightReport> reports);

// Of a file, by its header only, as `plan` would quantize it. Errors: no such file, not an RWKV-7
// model, a matrix without a float dtype.
Result<std::vector<MatrixKind>> read_matrix_kinds(const std::string& path, const WeightPlan& plan);

class ModelFile;
// Of a packed file, which has said of every matrix what it is.
std::vector<MatrixKind> packed_matrix_kinds(const ModelFile& file);
// In which layout all of a kind's matrices lie there; none where they differ.
std::optional<Layout> packed_layout(const ModelFile& file, const MatrixKind& kind);

}  // namespace skein
