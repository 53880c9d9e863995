// Sums over threads by way of workgroup memory. Workgroup memory starts with anything in it: write before reading.
var<workgroup> partial: array<f32, {{GROUP_THREADS}}>;

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

// The sum over all threads, for all of them.
fn sum_all(value: f32, lane: u32) -> f32 {
  let first = sum_lanes(value, lane, {{GROUP_THREADS}}u);
  let sum = partial[0];
  workgroupBarrier();
  return sum;
}
