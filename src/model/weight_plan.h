// WeightPlan: the layout of every group of matrices. A plan is data: the default stands here, a
// user names another in text, a tuner measures one.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "layout/layout.h"
#include "model/weight_list.h"

namespace skein {

struct WeightPlan {
  // Sixteen rows a vector, one sequential stream a thread: all of the read bandwidth, where row
  // after row reached two thirds of it on one thread (Zen 4, 2026-11-23).
  Layout attention = Layout::interleave(16, 64, 1);
  Layout ffn_key = Layout::interleave(16, 64, 1);
  Layout head = Layout::interleave(16, 64, 1);
  // Ranks are multiples of 32 (96 in the 1.5B model), which blocks of 64 cols would pad by up to a
  // third.
  Layout low_rank = Layout::interleave(16, 32, 1);
  // One run of rows a col, so that a zero activation skips its bytes.
  Layout ffn_value = Layout::col_major(128);

  // Of a matrix group; vectors and the embedding are row_major in every plan.
  Layout layout_of(WeightGroup group) const noexcept;

  // "att=interleave(16,64,1) low_rank=... ffn.key=... ffn.value=... head=..."
  std::string text() const;

  friend bool operator==(const WeightPlan&, const WeightPlan&) = default;
};

// `base` with the layouts that `text` names: one layout for all dense matrices ("row_major"), or a
// list "GROUP=LAYOUT,GROUP=LAYOUT" with the groups att, low_rank, ffn, ffn.key, ffn.value, head.
// Empty text changes nothing. A lone layout leaves ffn.value alone unless it is col_major: the
// sparse product wants the rows of a col side by side.
Result<WeightPlan> parse_weight_plan(std::string_view text, const WeightPlan& base = {});

}  // namespace skein
