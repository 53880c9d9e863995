// q8_0: sixteen signed codes as quads; the block's factor makes weights of them.
fn q8_0_four(word: u32) -> vec4<f32> {
  let high = bitcast<vec4<i32>>(vec4<u32>(word << 24u, word << 16u, word << 8u, word));
  return vec4<f32>(high >> vec4<u32>(24u));
}
fn q8_0_quad_0(words: vec4<u32>) -> vec4<f32> { return q8_0_four(words.x); }
fn q8_0_quad_1(words: vec4<u32>) -> vec4<f32> { return q8_0_four(words.y); }
fn q8_0_quad_2(words: vec4<u32>) -> vec4<f32> { return q8_0_four(words.z); }
fn q8_0_quad_3(words: vec4<u32>) -> vec4<f32> { return q8_0_four(words.w); }
fn q8_0_element(word: u32, index: u32) -> f32 {
  return q8_0_four(word)[index % 4u];
}
