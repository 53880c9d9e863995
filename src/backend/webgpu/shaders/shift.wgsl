// The y = LN(x) of every run's last token, into the state. One workgroup a run.
//!include lib/reduce.wgsl
//!include lib/row_norm.wgsl

@compute @workgroup_size({{GROUP_THREADS}})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let run = {{BATCH}}[{{BATCH}}[0].z + group.x];
  let token = run.y + run.z - 1u;
  let norm = row_norm(token, lane);
  for (var col = lane; col < {{COLS}}u; col = col + {{GROUP_THREADS}}u) {
    {{STATE}}[run.x * {{STATE_STRIDE}}u + {{SHIFT}}u + col] = normed(token, col, norm);
  }
}
