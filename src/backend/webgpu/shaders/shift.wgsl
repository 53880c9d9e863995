// The y = LN(x) of every run's last token, into the state. One workgroup a run.
//!include lib/reduce.wgsl
//!include lib/row_norm.wgsl

fn run(group: vec3<u32>, lane: u32) {
  let one = {{BATCH}}[{{BATCH}}[0].z + group.x];
  let token = one.y + one.z - 1u;
  let norm = row_norm(token, lane);
  for (var col = lane; col < {{COLS}}u; col = col + {{GROUP_THREADS}}u) {
    {{STATE}}[one.x * {{STATE_STRIDE}}u + {{SHIFT}}u + col] = normed(input(token, col), norm, norm_parameters(col));
  }
}
//!include lib/main.wgsl
