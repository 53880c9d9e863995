// WeightPlan: the layout and the dtype of every group of matrices. A plan is data: the default
// stands here, a user names another in text, a tuner measures one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/kernel_form.h"
#include "backend/rwkv7.h"
#include "base/result.h"
#include "layout/layout.h"
#include "model/weight_list.h"
#include "tensor/dtype.h"

namespace skein {

// Gives a dtype to some matrices.
struct QuantRule {
  // One group of all layers, or else the attention and ffn matrices (not the low-rank ones) of the
  // layers first_layer to last_layer.
  std::optional<WeightGroup> group;
  uint32_t first_layer = 0, last_layer = 0;
  std::optional<DType> dtype;  // a quantized one or f16, or none: as in the file

  bool covers(WeightGroup other, std::optional<uint32_t> layer) const noexcept;
  friend bool operator==(const QuantRule&, const QuantRule&) = default;
};

// Where the weights lie (the seed's idea 6).
enum class Placement : uint8_t {
  // One arena of the weights that every token reads, in the order of use, on huge pages where the
  // system has them: what a kernel asks for ahead runs on into the next matrix. Embedding rows stay
  // in the file.
  kHot,
  // Each weight in an allocation of its own, in the file's order, on small pages; nothing is asked
  // for ahead; the embedding is copied to memory beside them. What kHot is measured against.
  kFile,
};

// The groups whose layout a plan chooses, in the order of use.
inline constexpr std::array<WeightGroup, 5> kMatrixGroups = {
    WeightGroup::kAttention, WeightGroup::kLowRank, WeightGroup::kFfnKey, WeightGroup::kFfnValue,
    WeightGroup::kHead};

// A dtype for each group, in the order of kMatrixGroups.
using GroupDTypes = std::array<DType, kMatrixGroups.size()>;
inline constexpr GroupDTypes kPlainGroups = {DType::kF16, DType::kF16, DType::kF16, DType::kF16,
                                             DType::kF16};

struct WeightPlan {
  // Unset: what `dense` has for the dtype (not for ffn.value), or else default_layout() of the
  // group and its dtype.
  std::optional<Layout> attention, ffn_key, ffn_value, low_rank, head;

  // What the backend asks for.
  DenseLayouts dense = {};

  // In order; the last one that covers a matrix counts.
  std::vector<QuantRule> quant;

  // What most of a group's matrices are where no rule covers them; f16 stands for all plain types,
  // which have the same layouts. Known once a file is: loading says it.
  GroupDTypes file_dtypes = kPlainGroups;

  // How the six mixed inputs lie (idea 4).
  ActivationLayout activations = ActivationLayout::kPacked;
  Placement placement = Placement::kHot;

  // How a device's kernels divide the products of a group; the weights lie where they do whatever
  // this says.
  KernelForms forms;

  // Of a matrix group; vectors and the embedding are row_major in every plan.
  Layout layout_of(WeightGroup group, DType dtype = DType::kF16) const noexcept;

  // Names the layout of a matrix group: a CHECK for vectors and the embedding, which have one only.
  void set_layout(WeightGroup group, const Layout& layout);
  bool names_layout(WeightGroup group) const noexcept;

  // Of a matrix group, as above.
  KernelForm form_of(WeightGroup group) const noexcept;
  void set_form(WeightGroup group, const KernelForm& form);

  // What a matrix becomes, or nothing where it stays as in the file. `layer`: of a matrix that lies
  // in one.
  std::optional<DType> dtype_of(WeightGroup group, std::optional<uint32_t> layer) const noexcept;

  // Of most of a group's matrices, without the rules for single layers.
  DType group_dtype(WeightGroup group) const noexcept;

  // "att=interleave(16,64,1) low_rank=... ffn.key=... ffn.value=... head=...", and where there are
  // rules " quant=" with quant_text(); " activations=separate", " placement=file" and " forms="
  // with forms_text() where they are not the default. Layouts are those of the groups' dtypes
  // without the rules for single layers.
  std::string text() const;

  // The forms that are named as parse_forms() reads them: "att=group(128,32,2,16)"; empty without.
  std::string forms_text() const;

  // The rules as parse_quant() reads them: "att=int8,blocks.0-5=nf4"; empty without rules.
  std::string quant_text() const;

  // Equal are plans that say the same of every group.
  friend bool operator==(const WeightPlan& a, const WeightPlan& b) { return a.text() == b.text(); }
};

// The layout that is fast on the CPUs measured so far. Plain and dense: sixteen rows a vector, one
// sequential stream a thread: all of the read bandwidth, where row after row reached two thirds of
// it on one thread (Zen 4, 2026-11-23). Low-rank: ranks are multiples of 32 (96 in the 1.5B model),
// which blocks of 64 cols would pad by up to a third. Codes of 8 bits: four cols of one row are a
// 32-bit lane, as integer dot products want them; of 4 bits: eight cols. ffn.value: one run of rows
// a col, so that a zero activation skips its bytes.
Layout default_layout(WeightGroup group, DType dtype) noexcept;

// What a model is loaded with when nobody names a plan, on a backend with such dense_layouts().
WeightPlan default_plan(const DenseLayouts& dense);

// `base` with the layouts that `text` names: one layout for all matrices ("row_major"), ffn.value
// among them, which only col_major lets skip zeros; or a list "GROUP=LAYOUT,GROUP=LAYOUT" with the
// groups att, low_rank, ffn (both), ffn.key, ffn.value, head. Empty text changes nothing.
Result<WeightPlan> parse_weight_plan(std::string_view text, const WeightPlan& base = {});

// `base` with the rules that `text` names behind its own: one dtype ("int8": the attention and ffn
// matrices and the head; low-rank matrices and the embedding stay), or a list of GROUP=DTYPE and
// blocks.FIRST-LAST=DTYPE (blocks.3=DTYPE for one layer), where DTYPE is int8, nf4, sf4, q8_0,
// q4_0, q4_k, f16 (which decodes what a file has in codes) or file. Empty text changes nothing.
Result<WeightPlan> parse_quant(std::string_view text, const WeightPlan& base = {});

// `base` with the forms that `text` names, a list GROUP=FORM,GROUP=FORM with the groups of
// parse_weight_plan(). Empty text changes nothing.
Result<WeightPlan> parse_forms(std::string_view text, const WeightPlan& base = {});

// "packed" and "separate"; "hot" and "file".
std::string_view to_string(ActivationLayout layout) noexcept;
std::string_view to_string(Placement placement) noexcept;
Result<ActivationLayout> parse_activations(std::string_view text);
Result<Placement> parse_placement(std::string_view text);

}  // namespace skein
