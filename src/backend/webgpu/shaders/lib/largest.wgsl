// The largest of all threads' values, for all of them; once a shader.
fn max_all(value: f32) -> f32 {
  let part = subgroupMax(value);
  if (subgroup.y == 0u) {
    partial[subgroup.x] = part;
  }
  workgroupBarrier();
  var largest = 0.0;
  for (var i = 0u; i < subgroup.z; i = i + 1u) {
    largest = max(largest, partial[i]);
  }
  return largest;
}
