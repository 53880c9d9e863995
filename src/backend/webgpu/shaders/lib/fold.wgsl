// Sums of eight rows over eight neighbours: three exchanges, after each of which a thread has half of the rows and twice the
// cols. Subgroups of eight threads or more, neighbours in the workgroup.
var<workgroup> few_sums: array<vec4<f32>, {{PLACES}}>;

// Of rows a and b the one that this thread goes on with, from both threads.
fn fold(a: vec4<f32>, b: vec4<f32>, distance: u32, takes_b: bool) -> vec4<f32> {
  return select(a, b, takes_b) + subgroupShuffleXor(select(b, a, takes_b), distance);
}
// The row that a thread ends with.
fn folded_row(lane: u32) -> u32 { return (lane & 1u) * 4u + (lane & 2u) + (lane >> 2u & 1u); }
fn fold_8(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, e: vec4<f32>, f: vec4<f32>, g: vec4<f32>, h: vec4<f32>,
          lane: u32) -> vec4<f32> {
  let far = (lane & 1u) != 0u;
  let next = (lane & 2u) != 0u;
  return fold(fold(fold(a, e, 1u, far), fold(c, g, 1u, far), 2u, next),
              fold(fold(b, f, 1u, far), fold(d, h, 1u, far), 2u, next), 4u, (lane & 4u) != 0u);
}
