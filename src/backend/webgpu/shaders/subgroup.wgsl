// How many threads a subgroup has, from each thread; 0 where its threads are no neighbours of the workgroup.
@compute @workgroup_size(128)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) subgroup_id: u32,
        @builtin(subgroup_invocation_id) subgroup_lane: u32, @builtin(subgroup_size) size: u32) {
  {{OUT}}[lane] = select(0u, size, subgroup_id == lane / size && subgroup_lane == lane % size);
}
