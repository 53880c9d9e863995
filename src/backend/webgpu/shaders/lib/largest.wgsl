// The largest value of all threads, for all of them. All threads call it; a barrier is behind it. Needs lib/reduce.wgsl.
//!if HAS_SUBGROUPS
fn max_all(value: f32, lane: u32) -> f32 {
  let part = subgroupMax(value);
  if (subgroup.y == 0u) {
    partial[subgroup.x] = part;
  }
  workgroupBarrier();
  var largest = partial[0];
  for (var i = 1u; i < subgroup.z; i = i + 1u) {
    largest = max(largest, partial[i]);
  }
  workgroupBarrier();
  return largest;
}
//!else
fn max_all(value: f32, lane: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = {{GROUP_THREADS}}u / 2u; half > 0u; half = half / 2u) {
    if (lane < half) {
      partial[lane] = max(partial[lane], partial[lane + half]);
    }
    workgroupBarrier();
  }
  let largest = partial[0];
  workgroupBarrier();
  return largest;
}
//!end
