// {{DTYPE}}: thirty-two codes of four bits as quads; a factor makes weights of them. Integers are converted; the table of
// others lies in workgroup memory: arrays that are constants are copied to each thread's own memory by some drivers.
//!if IS_FAST
// The values of every byte, two codes, as f16, {{PAIR_COPIES}} times: threads side by side look up different banks of
// memory. Of less copies, or of single codes, the look-ups take longer than the memory's bytes (H200).
var<workgroup> {{DTYPE}}_pairs: array<mat4x2<f16>, {{NUM_FOURS}}>;
fn {{DTYPE}}_pair_of(codes: u32, bank: u32) -> vec2<f16> {
  return {{DTYPE}}_pairs[(codes & 255u) * {{PAIR_FOURS}}u + bank / 4u][bank % 4u];
}
//!end
//!if IS_TABLE
const {{DTYPE}}_table = array<f32, 16>({{CODES}});
var<workgroup> {{DTYPE}}_codes: array<f32, 16>;
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
//!if HAS_START
fn {{DTYPE}}_start(lane: u32) {
//!if IS_TABLE
  if (lane < 16u) {
    {{DTYPE}}_codes[lane] = {{DTYPE}}_table[lane];
  }
  workgroupBarrier();
//!end
//!if IS_FAST
  for (var i = lane; i < 256u * {{FILL_PARTS}}u; i = i + {{GROUP_THREADS}}u) {
    let codes = i / {{FILL_PARTS}}u;
    let pair = vec2<f16>(vec2<f32>({{DTYPE}}_element(codes, 0u), {{DTYPE}}_element(codes, 1u)));
    let four = mat4x2<f16>(pair, pair, pair, pair);
    let first = codes * {{PAIR_FOURS}}u + i % {{FILL_PARTS}}u * {{FILL_FOURS}}u;
//!repeat f FILL_FOURS
    {{DTYPE}}_pairs[first + {{f}}u] = four;
//!end
  }
  workgroupBarrier();
//!end
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
