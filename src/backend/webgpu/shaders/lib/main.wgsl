// The entry point of every shader but the wkv's: run() does the work.
@compute @workgroup_size({{GROUP_THREADS}})
//!if HAS_SUBGROUPS
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32,
        @builtin(subgroup_id) subgroup_id: u32, @builtin(subgroup_invocation_id) subgroup_lane: u32,
        @builtin(num_subgroups) num_subgroups: u32) {
  subgroup = vec3<u32>(subgroup_id, subgroup_lane, num_subgroups);
  run(group, lane);
}
//!else
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  run(group, lane);
}
//!end
