// int8: sixteen codes as quads of q / 255; the block's scale makes weights of them: q / 255 * (max - min) + min.
fn int8_four(word: u32) -> vec4<f32> { return unpack4x8unorm(word); }
fn int8_quad_0(words: vec4<u32>) -> vec4<f32> { return int8_four(words.x); }
fn int8_quad_1(words: vec4<u32>) -> vec4<f32> { return int8_four(words.y); }
fn int8_quad_2(words: vec4<u32>) -> vec4<f32> { return int8_four(words.z); }
fn int8_quad_3(words: vec4<u32>) -> vec4<f32> { return int8_four(words.w); }
fn int8_element(word: u32, index: u32) -> f32 {
  return f32((word >> (index % 4u * 8u)) & 255u) / 255.0;
}
