// {{DTYPE}}: thirty-two codes of four bits as quads; a factor makes weights of them. Integers are converted; the table of
// others lies in workgroup memory: arrays that are constants are copied to each thread's own memory by some drivers.
//!if IS_TABLE
const {{DTYPE}}_table = array<f32, 16>({{CODES}});
var<workgroup> {{DTYPE}}_codes: array<f32, 16>;
fn {{DTYPE}}_start(lane: u32) {
  if (lane < 16u) {
    {{DTYPE}}_codes[lane] = {{DTYPE}}_table[lane];
  }
  workgroupBarrier();
}
fn {{DTYPE}}_four(codes: u32) -> vec4<f32> {
  return vec4<f32>({{DTYPE}}_codes[codes & 15u], {{DTYPE}}_codes[(codes >> 4u) & 15u],
                   {{DTYPE}}_codes[(codes >> 8u) & 15u], {{DTYPE}}_codes[(codes >> 12u) & 15u]);
}
fn {{DTYPE}}_element(word: u32, index: u32) -> f32 {
  return {{DTYPE}}_codes[(word >> (index % 8u * 4u)) & 15u];
}
//!else
fn {{DTYPE}}_four(codes: u32) -> vec4<f32> {
  return vec4<f32>((vec4<u32>(codes) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u)) - vec4<f32>({{ZERO}});
}
fn {{DTYPE}}_element(word: u32, index: u32) -> f32 {
  return f32((word >> (index % 8u * 4u)) & 15u) - {{ZERO}};
}
//!end
// Of eight codes.
fn {{DTYPE}}_word_0(word: u32) -> vec4<f32> { return {{DTYPE}}_four(word); }
fn {{DTYPE}}_word_1(word: u32) -> vec4<f32> { return {{DTYPE}}_four(word >> 16u); }
// Of thirty-two.
fn {{DTYPE}}_quad_0(words: vec4<u32>) -> vec4<f32> { return {{DTYPE}}_four(words.x); }
fn {{DTYPE}}_quad_1(words: vec4<u32>) -> vec4<f32> { return {{DTYPE}}_four(words.x >> 16u); }
fn {{DTYPE}}_quad_2(words: vec4<u32>) -> vec4<f32> { return {{DTYPE}}_four(words.y); }
fn {{DTYPE}}_quad_3(words: vec4<u32>) -> vec4<f32> { return {{DTYPE}}_four(words.y >> 16u); }
fn {{DTYPE}}_quad_4(words: vec4<u32>) -> vec4<f32> { return {{DTYPE}}_four(words.z); }
fn {{DTYPE}}_quad_5(words: vec4<u32>) -> vec4<f32> { return {{DTYPE}}_four(words.z >> 16u); }
fn {{DTYPE}}_quad_6(words: vec4<u32>) -> vec4<f32> { return {{DTYPE}}_four(words.w); }
fn {{DTYPE}}_quad_7(words: vec4<u32>) -> vec4<f32> { return {{DTYPE}}_four(words.w >> 16u); }
