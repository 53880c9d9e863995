#include "plan/profile_ideas.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace skein {
namespace {

// The groups of MatrixOp::kDense: those whose order ideas 1 to 3 change.
constexpr std::array<WeightGroup, 4> kDenseGroups = {WeightGroup::kAttention, WeightGroup::kLowRank,
                                                     WeightGroup::kFfnKey, WeightGroup::kHead};

std::optional<Layout>& layout_in(WeightPlan& plan, WeightGroup group) {
  switch (group) {
    case WeightGroup::kAttention:
      return plan.attention;
    case WeightGroup::kLowRank:
      return plan.low_rank;
    case WeightGroup::kFfnKey:
      return plan.ffn_key;
    case WeightGroup::kHead:
      return plan.head;
    default:
      return plan.ffn_value;
  }
}

Layout aligned(Layout layout, DType dtype) {
  layout.align_bytes = is_quantized(dtype) ? 256 : 128;
  return layout;
}

Layout layout_of(const Switches& switches, WeightGroup group, DType dtype) {
  switch (switches.order) {
    case MatrixOrder::kColMajor:
      return Layout::col_major();
    case MatrixOrder::kRowMajor:
      return Layout::row_major();
    case MatrixOrder::kInterleaved:
      return default_layout(group, dtype);
    case MatrixOrder::kMorton:
      return Layout::morton(switches.morton_side);
  }
  return Layout::col_major();
}

std::string_view order_name(MatrixOrder order) {
  switch (order) {
    case MatrixOrder::kColMajor:
      return "col_major";
    case MatrixOrder::kRowMajor:
      return "row_major";
    case MatrixOrder::kInterleaved:
      return "interleave";
    case MatrixOrder::kMorton:
      return "morton";
  }
  return "?";
}

// A layout for each group, by its dtype: blocks are as wide as a quantized block, and no wider than
// the ranks of low-rank matrices, which are multiples of 32.
struct LayoutChoice {
  LayoutKind kind;
  uint32_t rows = 0;       // of a block; 0 where the kind has none
  bool is_vector = false;  // chunks of the cols that one lane takes, instead of whole blocks
  uint32_t align_bytes = 0;

  Layout layout(WeightGroup group, DType dtype) const {
    const bool is_wide = dtype == DType::kInt8 || dtype == DType::kQ4K;
    const uint32_t cols = is_wide ? block_cols(dtype) : group == WeightGroup::kLowRank ? 32 : 64;
    const uint32_t lane_cols = is_quantized(dtype) ? 32 / element_bits(dtype) : 1;
    switch (kind) {
      case LayoutKind::kRowMajor:
        return Layout::row_major(align_bytes);
      case LayoutKind::kColMajor:
        return Layout::col_major(align_bytes);
      case LayoutKind::kInterleave:
        return Layout::interleave(rows, cols, is_vector ? lane_cols : 0, align_bytes);
      case LayoutKind::kTile:
        return Layout::tile(rows, cols, align_bytes);
      case LayoutKind::kMorton:
        return Layout::morton(rows, align_bytes);
    }
    return Layout::row_major();
  }
};

constexpr std::array<LayoutChoice, 18> kLayoutChoices = {{
    {LayoutKind::kColMajor},
    {LayoutKind::kColMajor, 0, false, 64},
    {LayoutKind::kColMajor, 0, false, 128},
    {LayoutKind::kColMajor, 0, false, 256},
    {LayoutKind::kRowMajor},
    {LayoutKind::kRowMajor, 0, false, 64},
    {LayoutKind::kRowMajor, 0, false, 128},
    {LayoutKind::kRowMajor, 0, false, 256},
    {LayoutKind::kInterleave, 4},
    {LayoutKind::kInterleave, 8},
    {LayoutKind::kInterleave, 16},
    {LayoutKind::kInterleave, 8, true},
    {LayoutKind::kInterleave, 16, true},
    {LayoutKind::kInterleave, 16, true, 128},
    {LayoutKind::kTile, 16},
    {LayoutKind::kMorton, 16},
    {LayoutKind::kMorton, 32},
    {LayoutKind::kMorton, 64},
}};

// Collects variants; the same plan is measured once.
class VariantList {
 public:
  explicit VariantList(std::vector<Variant>& variants) : variants_(variants) {}

  size_t add(std::string name, WeightPlan plan) {
    for (size_t i = 0; i < variants_.size(); ++i) {
      if (variants_[i].plan == plan) return i;
    }
    variants_.push_back({std::move(name), std::move(plan)});
    return variants_.size() - 1;
  }

 private:
  std::vector<Variant>& variants_;
};

bool is_order(Idea idea) {
  return idea == Idea::kTransposed || idea == Idea::kBlockInterleaved || idea == Idea::kSwizzled;
}

}  // namespace

Switches with_idea(Switches switches, Idea idea) noexcept {
  switch (idea) {
    case Idea::kTransposed:
      switches.order = MatrixOrder::kRowMajor;
      break;
    case Idea::kBlockInterleaved:
      switches.order = MatrixOrder::kInterleaved;
      break;
    case Idea::kSwizzled:
      switches.order = MatrixOrder::kMorton;
      break;
    case Idea::kPackedActivations:
      switches.packed = true;
      break;
    case Idea::kAlignedDimensions:
      switches.aligned = true;
      break;
    case Idea::kHotCold:
      switches.hot = true;
      break;
  }
  return switches;
}

WeightPlan plan_of(const Switches& switches, const WeightPlan& quant) {
  WeightPlan plan;
  plan.quant = quant.quant;
  plan.file_dtypes = quant.file_dtypes;
  const auto place = [&](WeightGroup group, const Layout& layout) {
    layout_in(plan, group) = switches.aligned ? aligned(layout, plan.group_dtype(group)) : layout;
  };
  // Left unset, an interleaved matrix has the layout of its own dtype, whatever its layer's rule
  // is.
  const bool unset = switches.order == MatrixOrder::kInterleaved && !switches.aligned;
  for (const WeightGroup group : kDenseGroups) {
    if (!unset) place(group, layout_of(switches, group, plan.group_dtype(group)));
  }
  place(WeightGroup::kFfnValue, switches.sparse ? Layout::col_major() : Layout::row_major());
  plan.activations = switches.packed ? ActivationLayout::kPacked : ActivationLayout::kSeparate;
  plan.placement = switches.hot ? Placement::kHot : Placement::kFile;
  return plan;
}

Layout attention_layout(const WeightPlan& plan) noexcept {
  return plan.layout_of(WeightGroup::kAttention, plan.group_dtype(WeightGroup::kAttention));
}

Experiment make_experiment(const WeightPlan& quant, uint32_t morton_side,
                           const WeightPlan& standard) {
  Experiment experiment;
  VariantList list(experiment.variants);
  Switches none;
  none.morton_side = morton_side;
  list.add("baseline", plan_of(none, quant));
  Switches all = none;
  for (const Idea idea : kExperimentOrder) {
    const std::string name(seed_estimate(idea).key);
    IdeaRow row{idea, 0, 0, {}};
    row.alone = list.add(name, plan_of(with_idea(none, idea), quant));
    if (is_order(idea) && all.order != MatrixOrder::kColMajor) {
      row.replaces = order_name(all.order);
    }
    all = with_idea(all, idea);
    row.added = list.add(name + " added", plan_of(all, quant));
    experiment.ideas.push_back(std::move(row));
  }
  Switches sparse = none;
  sparse.sparse = all.sparse = true;
  experiment.sparse_alone = list.add("sparse_ffn", plan_of(sparse, quant));
  experiment.sparse_added = list.add("sparse_ffn added", plan_of(all, quant));
  WeightPlan by_default = standard;
  by_default.quant = quant.quant;
  by_default.file_dtypes = quant.file_dtypes;
  experiment.skein_default = list.add("default", by_default);
  for (const LayoutChoice& choice : kLayoutChoices) {
    WeightPlan plan = plan_of(none, quant);
    for (const WeightGroup group : kDenseGroups) {
      layout_in(plan, group) = choice.layout(group, plan.group_dtype(group));
    }
    const std::string name = to_string(attention_layout(plan));
    experiment.layouts.push_back(list.add(name, std::move(plan)));
  }
  return experiment;
}

}  // namespace skein
