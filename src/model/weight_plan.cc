#include "model/weight_plan.h"

#include <fmt/format.h>

#include <vector>

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

Status assign(WeightPlan& plan, std::string_view group, const Layout& layout) {
  if (group == "att") {
    plan.attention = layout;
  } else if (group == "low_rank") {
    plan.low_rank = layout;
  } else if (group == "ffn") {
    plan.ffn_key = plan.ffn_value = layout;
  } else if (group == "ffn.key") {
    plan.ffn_key = layout;
  } else if (group == "ffn.value") {
    plan.ffn_value = layout;
  } else if (group == "head") {
    plan.head = layout;
  } else {
    return error(
        "layout: expected a group of att, low_rank, ffn, ffn.key, ffn.value, head, found '{}'",
        group);
  }
  return {};
}

}  // namespace

Layout WeightPlan::layout_of(WeightGroup group) const noexcept {
  switch (group) {
    case WeightGroup::kVector:
    case WeightGroup::kEmbedding:
      return Layout::row_major();
    case WeightGroup::kAttention:
      return attention;
    case WeightGroup::kLowRank:
      return low_rank;
    case WeightGroup::kFfnKey:
      return ffn_key;
    case WeightGroup::kFfnValue:
      return ffn_value;
    case WeightGroup::kHead:
      return head;
  }
  return Layout::row_major();
}

std::string WeightPlan::text() const {
  return fmt::format("att={} low_rank={} ffn.key={} ffn.value={} head={}", to_string(attention),
                     to_string(low_rank), to_string(ffn_key), to_string(ffn_value),
                     to_string(head));
}

Result<WeightPlan> parse_weight_plan(std::string_view text, const WeightPlan& base) {
  WeightPlan plan = base;
  if (text.empty()) return plan;
  if (text.find('=') == std::string_view::npos) {
    SKEIN_ASSIGN_OR_RETURN(const Layout layout, parse_layout(text));
    plan.attention = plan.low_rank = plan.ffn_key = plan.head = layout;
    if (layout.kind == LayoutKind::kColMajor) plan.ffn_value = layout;
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

}  // namespace skein
