#include "model/weight_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <vector>

#include "base/check.h"

namespace skein {
namespace {

// Splits at the commas that stand outside parentheses.
std::vector<std::string_view> split_list(std::string_view text) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  int depth = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      parts.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    } else if (text[i] == '(') {
      ++depth;
    } else if (text[i] == ')') {
      --depth;
    }
  }
  return parts;
}

// Where a plan keeps the layout of a matrix group; nullptr for vectors and the embedding.
template <class Plan>
auto field_of(Plan& plan, WeightGroup group) noexcept -> decltype(&plan.attention) {
  switch (group) {
    case WeightGroup::kVector:
    case WeightGroup::kEmbedding:
      return nullptr;
    case WeightGroup::kAttention:
      return &plan.attention;
    case WeightGroup::kLowRank:
      return &plan.low_rank;
    case WeightGroup::kFfnKey:
      return &plan.ffn_key;
    case WeightGroup::kFfnValue:
      return &plan.ffn_value;
    case WeightGroup::kHead:
      return &plan.head;
  }
  return nullptr;
}

// Where a plan keeps the form of a matrix group; nullptr for vectors and the embedding.
template <class Forms>
auto form_field_of(Forms& forms, WeightGroup group) noexcept -> decltype(&forms.attention) {
  switch (group) {
    case WeightGroup::kVector:
    case WeightGroup::kEmbedding:
      return nullptr;
    case WeightGroup::kAttention:
      return &forms.attention;
    case WeightGroup::kLowRank:
      return &forms.low_rank;
    case WeightGroup::kFfnKey:
      return &forms.ffn_key;
    case WeightGroup::kFfnValue:
      return &forms.ffn_value;
    case WeightGroup::kHead:
      return &forms.head;
  }
  return nullptr;
}

// The groups that a name in a list stands for; none for an unknown one.
std::span<const WeightGroup> groups_named(std::string_view name) {
  static constexpr std::array kFfn = {WeightGroup::kFfnKey, WeightGroup::kFfnValue};
  if (name == "ffn") return kFfn;
  for (const WeightGroup& group : kMatrixGroups) {
    if (name == to_string(group)) return {&group, 1};
  }
  return {};
}

Status assign(WeightPlan& plan, std::string_view name, const Layout& layout) {
  const std::span<const WeightGroup> groups = groups_named(name);
  if (groups.empty()) {
    return error(
        "layout: expected a group of att, low_rank, ffn, ffn.key, ffn.value, head, found '{}'",
        name);
  }
  for (const WeightGroup group : groups) plan.set_layout(group, layout);
  return {};
}

Result<std::optional<DType>> parse_quant_dtype(std::string_view text) {
  if (text == "file") return std::optional<DType>();
  if (text == to_string(DType::kF16)) return std::optional(DType::kF16);
  for (const DType dtype : kQuantDTypes) {
    if (text == to_string(dtype)) return std::optional(dtype);
  }
  return error("quant: expected int8, nf4, sf4, q8_0, q4_0, q4_k, f16 or file, found '{}'", text);
}

// "3" or "0-5", the part behind "blocks.".
Status parse_layers(std::string_view text, QuantRule& rule) {
  const size_t dash = std::min(text.find('-'), text.size());
  const auto parse = [](std::string_view digits, uint32_t& out) {
    const char* end = digits.data() + digits.size();
    const auto [rest, code] = std::from_chars(digits.data(), end, out);
    return code == std::errc() && rest == end;
  };
  const bool good = parse(text.substr(0, dash), rule.first_layer) &&
                    parse(dash < text.size() ? text.substr(dash + 1) : text, rule.last_layer);
  if (!good || rule.first_layer > rule.last_layer) {
    return error("quant: expected layers as blocks.FIRST-LAST, found 'blocks.{}'", text);
  }
  return {};
}

Status add_rules(std::string_view target, std::optional<DType> dtype,
                 std::vector<QuantRule>& rules) {
  constexpr std::string_view kBlocks = "blocks.";
  if (target.starts_with(kBlocks)) {
    QuantRule rule{std::nullopt, 0, 0, dtype};
    SKEIN_RETURN_IF_ERROR(parse_layers(target.substr(kBlocks.size()), rule));
    rules.push_back(rule);
    return {};
  }
  const std::span<const WeightGroup> groups = groups_named(target);
  for (const WeightGroup group : groups) rules.push_back({group, 0, 0, dtype});
  if (!groups.empty()) return {};
  return error(
      "quant: expected a group of att, low_rank, ffn, ffn.key, ffn.value, head or "
      "blocks.FIRST-LAST, found '{}'",
      target);
}

}  // namespace

bool QuantRule::covers(WeightGroup other, std::optional<uint32_t> layer) const noexcept {
  if (group) return *group == other;
  const bool is_matrix = other == WeightGroup::kAttention || other == WeightGroup::kFfnKey ||
                         other == WeightGroup::kFfnValue;
  return is_matrix && layer && *layer >= first_layer && *layer <= last_layer;
}

Layout default_layout(WeightGroup group, DType dtype) noexcept {
  if (group == WeightGroup::kVector || group == WeightGroup::kEmbedding) return Layout::row_major();
  if (group == WeightGroup::kFfnValue) return Layout::col_major(128);
  if (is_quantized(dtype)) {
    return Layout::interleave(16, block_cols(dtype), 32 / element_bits(dtype));
  }
  return Layout::interleave(16, group == WeightGroup::kLowRank ? 32 : 64, 1);
}

Layout WeightPlan::layout_of(WeightGroup group, DType dtype) const noexcept {
  const std::optional<Layout>* named = field_of(*this, group);
  if (named == nullptr) return default_layout(group, dtype);
  if (*named) return **named;
  const std::optional<Layout>& asked = dense[static_cast<size_t>(dtype)];
  return asked && group != WeightGroup::kFfnValue ? *asked : default_layout(group, dtype);
}

bool WeightPlan::names_layout(WeightGroup group) const noexcept {
  const std::optional<Layout>* named = field_of(*this, group);
  return named != nullptr && named->has_value();
}

void WeightPlan::set_layout(WeightGroup group, const Layout& layout) {
  std::optional<Layout>* named = field_of(*this, group);
  CHECK(named != nullptr);
  *named = layout;
}

KernelForm WeightPlan::form_of(WeightGroup group) const noexcept {
  const KernelForm* form = form_field_of(forms, group);
  return form == nullptr ? KernelForm() : *form;
}

void WeightPlan::set_form(WeightGroup group, const KernelForm& form) {
  KernelForm* field = form_field_of(forms, group);
  CHECK(field != nullptr);
  *field = form;
}

std::optional<DType> WeightPlan::dtype_of(WeightGroup group,
                                          std::optional<uint32_t> layer) const noexcept {
  std::optional<DType> dtype;
  for (const QuantRule& rule : quant) {
    if (rule.covers(group, layer)) dtype = rule.dtype;
  }
  return dtype;
}

DType WeightPlan::group_dtype(WeightGroup group) const noexcept {
  const auto* at = std::find(kMatrixGroups.begin(), kMatrixGroups.end(), group);
  CHECK(at != kMatrixGroups.end());
  return dtype_of(group, std::nullopt)
      .value_or(file_dtypes[static_cast<size_t>(at - kMatrixGroups.begin())]);
}

std::string WeightPlan::text() const {
  const auto layout = [&](WeightGroup group) {
    return to_string(layout_of(group, group_dtype(group)));
  };
  std::string text = fmt::format("att={} low_rank={} ffn.key={} ffn.value={} head={}",
                                 layout(WeightGroup::kAttention), layout(WeightGroup::kLowRank),
                                 layout(WeightGroup::kFfnKey), layout(WeightGroup::kFfnValue),
                                 layout(WeightGroup::kHead));
  if (!quant.empty()) text += fmt::format(" quant={}", quant_text());
  if (activations != WeightPlan{}.activations) {
    text += fmt::format(" activations={}", to_string(activations));
  }
  if (placement != WeightPlan{}.placement) {
    text += fmt::format(" placement={}", to_string(placement));
  }
  if (forms != KernelForms{}) text += fmt::format(" forms={}", forms_text());
  return text;
}

std::string WeightPlan::forms_text() const {
  std::string text;
  for (const WeightGroup group : kMatrixGroups) {
    if (form_of(group).is_auto()) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", to_string(group),
                        to_string(form_of(group)));
  }
  return text;
}

std::string WeightPlan::quant_text() const {
  std::string text;
  for (const QuantRule& rule : quant) {
    if (!text.empty()) text += ',';
    const std::string_view dtype = rule.dtype ? to_string(*rule.dtype) : "file";
    if (rule.group) {
      text += fmt::format("{}={}", to_string(*rule.group), dtype);
    } else if (rule.first_layer == rule.last_layer) {
      text += fmt::format("blocks.{}={}", rule.first_layer, dtype);
    } else {
      text += fmt::format("blocks.{}-{}={}", rule.first_layer, rule.last_layer, dtype);
    }
  }
  return text;
}

Result<WeightPlan> parse_weight_plan(std::string_view text, const WeightPlan& base) {
  WeightPlan plan = base;
  if (text.empty()) return plan;
  if (text.find('=') == std::string_view::npos) {
    SKEIN_ASSIGN_OR_RETURN(const Layout layout, parse_layout(text));
    for (const WeightGroup group : kMatrixGroups) plan.set_layout(group, layout);
    return plan;
  }
  for (std::string_view part : split_list(text)) {
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      return error("layout: expected GROUP=LAYOUT, found '{}' in '{}'", part, text);
    }
    SKEIN_ASSIGN_OR_RETURN(const Layout layout, parse_layout(part.substr(equals + 1)));
    SKEIN_RETURN_IF_ERROR(assign(plan, part.substr(0, equals), layout));
  }
  return plan;
}

Result<WeightPlan> parse_forms(std::string_view text, const WeightPlan& base) {
  WeightPlan plan = base;
  if (text.empty()) return plan;
  for (const std::string_view part : split_list(text)) {
    const size_t equals = part.find('=');
    const std::span<const WeightGroup> groups = groups_named(part.substr(0, equals));
    if (equals == std::string_view::npos || groups.empty()) {
      return error(
          "forms: expected GROUP=FORM with a group of att, low_rank, ffn, ffn.key, ffn.value, "
          "head, found '{}'",
          part.substr(0, 60));
    }
    SKEIN_ASSIGN_OR_RETURN(const KernelForm form, parse_form(part.substr(equals + 1)));
    for (const WeightGroup group : groups) plan.set_form(group, form);
  }
  return plan;
}

Result<WeightPlan> parse_quant(std::string_view text, const WeightPlan& base) {
  WeightPlan plan = base;
  if (text.empty()) return plan;
  if (text.find('=') == std::string_view::npos) {
    SKEIN_ASSIGN_OR_RETURN(const std::optional<DType> dtype, parse_quant_dtype(text));
    for (const std::string_view group : {"att", "ffn", "head"}) {
      SKEIN_RETURN_IF_ERROR(add_rules(group, dtype, plan.quant));
    }
    return plan;
  }
  for (const std::string_view part : split_list(text)) {
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      return error("quant: expected GROUP=DTYPE, found '{}' in '{}'", part, text);
    }
    SKEIN_ASSIGN_OR_RETURN(const std::optional<DType> dtype,
                           parse_quant_dtype(part.substr(equals + 1)));
    SKEIN_RETURN_IF_ERROR(add_rules(part.substr(0, equals), dtype, plan.quant));
  }
  return plan;
}

std::string_view to_string(ActivationLayout layout) noexcept {
  return layout == ActivationLayout::kPacked ? "packed" : "separate";
}

std::string_view to_string(Placement placement) noexcept {
  return placement == Placement::kHot ? "hot" : "file";
}

Result<ActivationLayout> parse_activations(std::string_view text) {
  for (const ActivationLayout layout : {ActivationLayout::kPacked, ActivationLayout::kSeparate}) {
    if (text == to_string(layout)) return layout;
  }
  return error("activations: expected packed or separate, found '{}'", text);
}

Result<Placement> parse_placement(std::string_view text) {
  for (const Placement placement : {Placement::kHot, Placement::kFile}) {
    if (text == to_string(placement)) return placement;
  }
  return error("placement: expected hot or file, found '{}'", text);
}

WeightPlan default_plan(const DenseLayouts& dense) {
  WeightPlan plan;
  plan.dense = dense;
  return plan;
}

}  // namespace skein
