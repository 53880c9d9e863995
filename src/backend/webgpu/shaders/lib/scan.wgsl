// Running sums over threads, of u32 or f32.
var<workgroup> scanned: array<{{SCAN_TYPE}}, {{GROUP_THREADS}}>;

// The sum over the threads before this one, and over all. All threads call it; a barrier must follow before the next call.
//!if HAS_SUBGROUPS
fn scan_all(value: {{SCAN_TYPE}}, lane: u32) -> vec2<{{SCAN_TYPE}}> {
  let before_in = subgroupExclusiveAdd(value);
  let all_in = subgroupAdd(value);
  if (subgroup.y == 0u) {
    scanned[subgroup.x] = all_in;
  }
  workgroupBarrier();
  var before = before_in;
  var all = {{SCAN_TYPE}}(0);
  for (var i = 0u; i < subgroup.z; i = i + 1u) {
    before = before + select({{SCAN_TYPE}}(0), scanned[i], i < subgroup.x);
    all = all + scanned[i];
  }
  return vec2<{{SCAN_TYPE}}>(before, all);
}
//!else
fn scan_all(value: {{SCAN_TYPE}}, lane: u32) -> vec2<{{SCAN_TYPE}}> {
  scanned[lane] = value;
  workgroupBarrier();
  var upto = value;
  for (var step = 1u; step < {{GROUP_THREADS}}u; step = step * 2u) {
    var more = {{SCAN_TYPE}}(0);
    if (lane >= step) {
      more = scanned[lane - step];
    }
    workgroupBarrier();
    upto = upto + more;
    scanned[lane] = upto;
    workgroupBarrier();
  }
  return vec2<{{SCAN_TYPE}}>(upto - value, scanned[{{GROUP_THREADS}}u - 1u]);
}
//!end
