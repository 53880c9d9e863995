// {{DTYPE}}: sixteen bytes of weights as quads of f32, and one weight of a word.
//!if IS_F32
fn f32_quad_0(words: vec4<u32>) -> vec4<f32> { return bitcast<vec4<f32>>(words); }
fn f32_element(word: u32, index: u32) -> f32 { return bitcast<f32>(word); }
//!end
//!if IS_F16
fn f16_pair(word: u32) -> vec2<f32> { return unpack2x16float(word); }
fn f16_quad_0(words: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(f16_pair(words.x), f16_pair(words.y));
}
fn f16_quad_1(words: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(f16_pair(words.z), f16_pair(words.w));
}
fn f16_element(word: u32, index: u32) -> f32 {
  let both = unpack2x16float(word);
  return select(both.x, both.y, index % 2u == 1u);
}
//!end
//!if IS_BF16
fn bf16_pair(word: u32) -> vec2<f32> {
  return vec2<f32>(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}
fn bf16_quad_0(words: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(bf16_pair(words.x), bf16_pair(words.y));
}
fn bf16_quad_1(words: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(bf16_pair(words.z), bf16_pair(words.w));
}
fn bf16_element(word: u32, index: u32) -> f32 {
  let both = bf16_pair(word);
  return select(both.x, both.y, index % 2u == 1u);
}
//!end
