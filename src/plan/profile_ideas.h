// The document's six ideas as weight plans: what is switched on, alone and one after the other.
//
// The baseline is the document's "current" state, in the words of memory: every dense matrix in
// `col_major` without alignment (its [K, M], read with strides along K), six tensors of mixed
// inputs, each weight where the file had it. ffn.value is row_major, read whole, in all of them: in
// col_major the kernels skip what zero activations multiply, which no idea of the document does; it
// is a row of its own.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "model/weight_plan.h"
#include "plan/seed_estimates.h"

namespace skein {

// The order of the dense matrices: ideas 1, 2 and 3 exclude each other.
enum class MatrixOrder : uint8_t { kColMajor, kRowMajor, kInterleaved, kMorton };

// What is on. Nothing: the baseline.
struct Switches {
  MatrixOrder order = MatrixOrder::kColMajor;
  bool aligned = false;
  bool packed = false;
  bool hot = false;
  bool sparse = false;  // ffn.value in col_major: no idea of the document
  uint32_t morton_side = 32;

  friend bool operator==(const Switches&, const Switches&) = default;
};

// `switches` with one idea switched on; an order replaces the order that was there.
Switches with_idea(Switches switches, Idea idea) noexcept;

// The plan of some switches. `quant` gives the rules; layouts follow from the dtypes that they give
// to whole groups. Aligned: 128 B, quantized matrices 256 B, as the document recommends.
WeightPlan plan_of(const Switches& switches, const WeightPlan& quant);

// Something to measure.
struct Variant {
  std::string name;  // "transposed", "transposed added", "row_major@64B"
  WeightPlan plan;
};

// One idea: indices into the list of variants.
struct IdeaRow {
  Idea idea = Idea::kTransposed;
  size_t alone = 0, added = 0;
  std::string replaces;  // what its order replaced in the "added" column; empty: nothing
};

// What `skein profile` measures. Two names for one plan are one variant.
struct Experiment {
  std::vector<Variant> variants;  // the baseline first
  std::vector<IdeaRow> ideas;     // in kExperimentOrder
  size_t sparse_alone = 0;        // the baseline with the sparse ffn
  size_t sparse_added = 0;        // all ideas with the sparse ffn
  size_t skein_default = 0;       // what a model is loaded with when nobody names a plan
  std::vector<size_t> layouts;    // every layout, all else as in the baseline
};

// The sides that morton is tried with; the fastest one is the idea.
inline constexpr std::array<uint32_t, 3> kMortonSides = {16, 32, 64};

// The layout that the attention matrices have by the plan's rules for groups: what a layout's row
// in the table is called.
Layout attention_layout(const WeightPlan& plan) noexcept;

// `standard`: the plan that is no experiment, but for its quantization.
Experiment make_experiment(const WeightPlan& quant, uint32_t morton_side,
                           const WeightPlan& standard = {});

}  // namespace skein
