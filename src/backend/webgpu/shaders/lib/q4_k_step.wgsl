// q4_k: what the codes of one of a block's eight runs are multiplied by, and what is added to the products; from the four
// words of the block's scale (tensor/ggml_codec.h).
fn q4_k_step(words: vec4<u32>, run: u32) -> vec2<f32> {
  let shift = run % 4u * 8u;
  let first = words.yz >> vec2<u32>(shift);
  let rest = vec2<u32>(words.w >> shift) >> vec2<u32>(0u, 4u);
  let late = (rest & vec2<u32>(15u)) | ((first >> vec2<u32>(2u)) & vec2<u32>(48u));
  let pair = vec2<f32>(select(first & vec2<u32>(63u), late, run >= 4u));
  return unpack2x16float(words.x) * vec2<f32>(pair.x, -pair.y);
}
