// Job {{J}}: of four rows that begin with `row`, a multiple of four, what the codes' values in `col` are multiplied by,
// and what is added to the products.
fn scales_{{J}}(row: u32, col: u32) -> array<vec4<f32>, 2> {
//!if SCALE_QUADS
//!if IS_Q4K
  let word = col / 256u * 4u;
  let run = col / {{BLOCK}}u % 8u;
//!repeat w 4
  let words_{{w}} = {{S}}[scale_base_{{J}} + scale_offset_{{J}}(row, word + {{w}}u) / 4u];
//!end
//!repeat r 4
  let step_{{r}} = q4_k_step(vec4<u32>(words_0[{{r}}], words_1[{{r}}], words_2[{{r}}], words_3[{{r}}]), run);
//!end
  return array<vec4<f32>, 2>(vec4<f32>(step_0.x, step_1.x, step_2.x, step_3.x),
                             vec4<f32>(step_0.y, step_1.y, step_2.y, step_3.y));
//!else
  let at = scale_offset_{{J}}(row, col / {{BLOCK}}u);
//!if IS_INT8
  let words = {{S}}[scale_base_{{J}} + at / 4u];
  let first = unpack2x16float(words.x);
  let second = unpack2x16float(words.y);
  let third = unpack2x16float(words.z);
  let fourth = unpack2x16float(words.w);
  let low = vec4<f32>(first.x, second.x, third.x, fourth.x);
  return array<vec4<f32>, 2>(vec4<f32>(first.y, second.y, third.y, fourth.y) - low, low);
//!else
  let words = {{S}}[scale_base_{{J}} + at / 8u];
  let pairs = select(words.xy, words.zw, at / 4u % 2u == 1u);
  return array<vec4<f32>, 2>(vec4<f32>(unpack2x16float(pairs.x), unpack2x16float(pairs.y)), vec4<f32>());
//!end
//!end
//!else
  let first = scale_{{J}}(row, col);
  let second = scale_{{J}}(min(row + 1u, {{ROWS}}u - 1u), col);
  let third = scale_{{J}}(min(row + 2u, {{ROWS}}u - 1u), col);
  let fourth = scale_{{J}}(min(row + 3u, {{ROWS}}u - 1u), col);
  return array<vec4<f32>, 2>(vec4<f32>(first.x, second.x, third.x, fourth.x),
                             vec4<f32>(first.y, second.y, third.y, fourth.y));
//!end
}
