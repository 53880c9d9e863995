// Sums over threads by way of workgroup memory. Workgroup memory starts with anything in it: write before reading.
var<workgroup> partial: array<f32, {{PARTIALS}}>;

// The sum over each run of `lanes` threads (a power of two), for the first thread of the run. All threads call it.
fn sum_lanes(value: f32, lane: u32, lanes: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = lanes / 2u; half > 0u; half = half / 2u) {
    if (lane % lanes < half) {
      partial[lane] = partial[lane] + partial[lane + half];
    }
    workgroupBarrier();
  }
  return partial[lane];
}

//!if HAS_SUBGROUPS
// Of this thread: its subgroup's number, its place in it, and how many subgroups the workgroup has.
var<private> subgroup: vec3<u32>;

// The sum over all threads, for all of them. Calls alternate between slots 0 and 1, which saves a barrier.
fn sum_all(value: f32, lane: u32, slot: u32) -> f32 {
  let part = subgroupAdd(value);
  if (subgroup.y == 0u) {
    partial[slot * {{GROUP_THREADS}}u + subgroup.x] = part;
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < subgroup.z; i = i + 1u) {
    sum = sum + partial[slot * {{GROUP_THREADS}}u + i];
  }
  return sum;
}
//!else
fn sum_all(value: f32, lane: u32, slot: u32) -> f32 {
  let first = sum_lanes(value, lane, {{GROUP_THREADS}}u);
  let sum = partial[0];
  workgroupBarrier();
  return sum;
}
//!end
