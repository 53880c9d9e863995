// Draws a token from the logits of one sequence, as engine/sampler.h says: penalties, then top_k, top_p and min_p on the
// softmax at temperature 1, then the temperature. One workgroup. Where the order of ids counts a thread has
// {{PER_THREAD}} tokens side by side, so that a running sum over threads is one over ids; elsewhere threads side by side
// read tokens side by side. What is near the peak is listed in workgroup memory and ranked there; only logits too flat
// for the list are ranked in place.
//!include lib/reduce.wgsl
//!include lib/largest.wgsl
//!include lib/scan.wgsl
const lowest = -3.4e38;  // stands for -inf and NaN
var<workgroup> list_logits: array<f32, {{LIST}}>;
var<workgroup> list_ids: array<u32, {{LIST}}>;
var<workgroup> drawn: u32;
var<private> is_listed: bool;
var<private> num_items: u32;
var<private> cut_key: u32;  // of the last token that top_k and top_p keep; ties of it up to cut_ties
var<private> cut_ties: f32;

fn logit(i: u32) -> f32 {
  var value = {{LOGITS}}[{{LOGITS_OFFSET}}u + i];
  if ((bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u) {
    value = lowest;
  }
//!if HAS_PENALTIES
  let count = bitcast<f32>({{DRAWS}}[{{COUNTS_AT}}u + i]);
  if (count >= 0.0) {
    value = value - ({{PRESENCE}} + {{FREQUENCY}} * count);
  }
//!end
  return max(value, lowest);
}
fn item_logit(i: u32) -> f32 {
  if (is_listed) { return list_logits[i]; }
  return logit(i);
}
fn item_id(i: u32) -> u32 {
  if (is_listed) { return list_ids[i]; }
  return i;
}
// Ascends as the logit does.
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
fn first_item(lane: u32) -> u32 { return min(lane * items_each(), num_items); }
fn items_each() -> u32 { return (num_items + {{GROUP_THREADS}}u - 1u) / {{GROUP_THREADS}}u; }

// How many items have that key or a larger one, and the sum of their weights at temperature 1.
fn above(key: u32, peak: f32, lane: u32) -> vec2<f32> {
  var count = 0.0;
  var sum = 0.0;
  for (var i = lane; i < num_items; i = i + {{GROUP_THREADS}}u) {
    let value = item_logit(i);
    if (key_of(value) >= key) {
      count = count + 1.0;
      sum = sum + exp(value - peak);
    }
  }
  let all_count = sum_all(count, lane, 0u);
  let all_sum = sum_all(sum, lane, 1u);
  workgroupBarrier();
  return vec2<f32>(all_count, all_sum);
}
fn is_enough(kept: vec2<f32>, goal: f32) -> bool {
  return ({{TOP_K}}u != 0u && kept.x >= {{TOP_K}}.0) || ({{HAS_TOP_P}}u != 0u && kept.y >= goal);
}

// Lists what is at most `reach` below the peak. False: too much.
fn list_items(peak: f32, reach: f32, lane: u32) -> bool {
  let first = lane * {{PER_THREAD}}u;
  let last = min(first + {{PER_THREAD}}u, {{NUM_VOCAB}}u);
  var count = 0.0;
  for (var i = first; i < last; i = i + 1u) {
    count = count + select(0.0, 1.0, peak - logit(i) <= reach);
  }
  let place = scan_all(count, lane);
  workgroupBarrier();
  if (place.y > {{LIST}}.0) {
    return false;
  }
  var at = u32(place.x);
  for (var i = first; i < last; i = i + 1u) {
    let value = logit(i);
    if (peak - value <= reach) {
      list_logits[at] = value;
      list_ids[at] = i;
      at = at + 1u;
    }
  }
  workgroupBarrier();
  num_items = u32(place.y);
  is_listed = true;
  return true;
}

// Finds the cut of top_k and top_p, bit by bit.
fn find_cut(peak: f32, goal: f32, lane: u32) {
  var key = 0u;
  for (var bit = 0x80000000u; bit != 0u; bit = bit >> 1u) {
    if (is_enough(above(key | bit, peak, lane), goal)) {
      key = key | bit;
    }
  }
  cut_key = key;
  // Of tokens with the same logit the lowest ids come first: so many of them are needed.
  let before = above(key + 1u, peak, lane);
  let same = above(key, peak, lane) - before;
  var needed = same.x;
  if ({{TOP_K}}u != 0u) {
    needed = min(needed, {{TOP_K}}.0 - before.x);
  }
  if ({{HAS_TOP_P}}u != 0u && same.y > 0.0) {
    needed = min(needed, ceil((goal - before.y) / (same.y / same.x)));
  }
  cut_ties = max(needed, 1.0);
}

fn draw(peak: f32, uniform_value: f32, lane: u32) {
  is_listed = false;
  num_items = {{NUM_VOCAB}}u;
  cut_key = 0u;
  cut_ties = 3.4e38;
//!if HAS_RANKS
  let goal = {{TOP_P}} * above(0u, peak, lane).y;
  var is_found = false;
  if (list_items(peak, {{REACH}}, lane)) {
    is_found = is_enough(above(0u, peak, lane), goal);
  }
  // A list of all that min_p allows needs no more.
  if (!is_found && !(is_listed && {{REACH}} >= {{MIN_P_REACH}})) {
    is_listed = false;
    num_items = {{NUM_VOCAB}}u;
    is_found = is_enough(above(0u, peak, lane), goal);
  }
  if (is_found) {
    find_cut(peak, goal, lane);
  }
//!end
  let first = first_item(lane);
  let last = min(first + items_each(), num_items);
  var ties = 0.0;
  for (var i = first; i < last; i = i + 1u) {
    ties = ties + select(0.0, 1.0, key_of(item_logit(i)) == cut_key);
  }
  let ties_before = scan_all(ties, lane).x;
  workgroupBarrier();
  // Weights twice: for the sum, and up to the place that is drawn.
  var sum = 0.0;
  ties = ties_before;
  for (var i = first; i < last; i = i + 1u) {
    sum = sum + weight_of(i, peak, &ties);
  }
  let place = scan_all(sum, lane);
  workgroupBarrier();
  let goal_place = uniform_value * place.y;
  let winner = max_all(select(-1.0, f32(lane), sum > 0.0 && place.x <= goal_place), lane);
  if (f32(lane) == winner) {
    var upto = place.x;
    ties = ties_before;
    for (var i = first; i < last; i = i + 1u) {
      let weight = weight_of(i, peak, &ties);
      if (weight > 0.0) {
        drawn = item_id(i);
        upto = upto + weight;
        if (upto > goal_place) {
          break;
        }
      }
    }
  }
}
// 0 for what the filters drop; counts ties of the cut.
fn weight_of(i: u32, peak: f32, ties: ptr<function, f32>) -> f32 {
  let value = item_logit(i);
  let key = key_of(value);
  var is_kept = key >= cut_key && peak - value <= {{MIN_P_REACH}} && value > lowest;
  if (key == cut_key) {
    *ties = *ties + 1.0;
    is_kept = is_kept && *ties <= cut_ties;
  }
  return select(0.0, exp((value - peak) * {{SCALE}}), is_kept);
}

fn run(group: vec3<u32>, lane: u32) {
  var mine = lowest;
  var my_id = 0u;
  for (var i = lane; i < {{NUM_VOCAB}}u; i = i + {{GROUP_THREADS}}u) {
    let value = logit(i);
    if (value > mine) {
      mine = value;
      my_id = i;
    }
  }
  let peak = max_all(mine, lane);
  let peak_id = u32(-max_all(select(-16777216.0, -f32(my_id), mine == peak), lane));
  let slot = {{DRAWS}}[0] % {{SLOTS}}u;
  let uniform_value = bitcast<f32>({{DRAWS}}[{{UNIFORMS_AT}}u + slot]);
  if (lane == 0u) {
    drawn = select(peak_id, 0u, peak <= lowest);
  }
  workgroupBarrier();
//!if IS_GREEDY
//!else
  if (peak > lowest && peak < -lowest) {
    draw(peak, uniform_value, lane);
  }
  workgroupBarrier();
//!end
//!if HAS_PENALTIES
  for (var i = lane; i < {{NUM_VOCAB}}u; i = i + {{GROUP_THREADS}}u) {
    var count = bitcast<f32>({{DRAWS}}[{{COUNTS_AT}}u + i]);
    if (count >= 0.0) {
      count = count * {{DECAY}};
    }
    if (i == drawn) {
      count = max(count, 0.0) + 1.0;
    }
    {{DRAWS}}[{{COUNTS_AT}}u + i] = bitcast<u32>(count);
  }
//!end
  if (lane == 0u) {
    {{DRAWS}}[{{IDS_AT}}u + slot] = drawn;
    {{DRAWS}}[1] = drawn;
    {{DRAWS}}[0] = slot + 1u;
  }
}
//!include lib/main.wgsl
