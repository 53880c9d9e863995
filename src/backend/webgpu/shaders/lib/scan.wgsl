// Running sums over threads.
var<workgroup> counts: array<u32, {{GROUP_THREADS}}>;

// The sum over the threads before this one, and over all. All threads call it; a barrier must follow before the next call.
//!if HAS_SUBGROUPS
fn scan_all(value: u32, lane: u32) -> vec2<u32> {
  let before_in = subgroupExclusiveAdd(value);
  let all_in = subgroupAdd(value);
  if (subgroup.y == 0u) {
    counts[subgroup.x] = all_in;
  }
  workgroupBarrier();
  var before = before_in;
  var all = 0u;
  for (var i = 0u; i < subgroup.z; i = i + 1u) {
    before = before + select(0u, counts[i], i < subgroup.x);
    all = all + counts[i];
  }
  return vec2<u32>(before, all);
}
//!else
fn scan_all(value: u32, lane: u32) -> vec2<u32> {
  counts[lane] = value;
  workgroupBarrier();
  var upto = value;
  for (var step = 1u; step < {{GROUP_THREADS}}u; step = step * 2u) {
    var more = 0u;
    if (lane >= step) {
      more = counts[lane - step];
    }
    workgroupBarrier();
    upto = upto + more;
    counts[lane] = upto;
    workgroupBarrier();
  }
  return vec2<u32>(upto - value, counts[{{GROUP_THREADS}}u - 1u]);
}
//!end
