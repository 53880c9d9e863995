// Reads {{ELEMS}} times sixteen bytes and nothing else, eight loads a thread: what the bandwidth of the memory is.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let base = (wg.x + wg.y * {{GROUPS_X}}u) * 2048u + lane;
//!repeat i 8
  let words_{{i}} = {{DATA}}[min(base + {{i}}u * 256u, {{ELEMS}}u - 1u)];
//!end
  let all = words_0 ^ words_1 ^ words_2 ^ words_3 ^ words_4 ^ words_5 ^ words_6 ^ words_7;
  // Never true: the data are zeros. Keeps the loads.
  if ((all.x | all.y | all.z | all.w) == 1u) {
    {{OUT}}[0] = 1.0;
  }
}
