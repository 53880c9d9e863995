// The weights of job {{J}}: {{DTYPE}} in {{LAYOUT}}. offset_{{J}}() and scale_offset_{{J}}() are emitted from
// layout/; base_{{J}}, delta_{{J}} and scale_base_{{J}} say where they begin (weights_text.h).

// The sixteen bytes that begin with the element (row, col).
fn words_{{J}}(row: u32, col: u32) -> vec4<u32> {
  return {{W}}[base_{{J}} + (offset_{{J}}(row, col) - delta_{{J}}) / {{VEC}}u];
}

//!if SCALED
// Four of those bytes: {{PER_WORD}} codes.
fn word_{{J}}(row: u32, col: u32) -> u32 {
  let at = (offset_{{J}}(row, col) - delta_{{J}}) / {{PER_WORD}}u;
  return {{W}}[base_{{J}} + at / 4u][at % 4u];
}
//!end

//!if SCALED
//!if IS_Q4K
fn scale_word_{{J}}(row: u32, word: u32) -> u32 {
  let at = scale_offset_{{J}}(row, word);
  return {{S}}[scale_base_{{J}} + at / 4u][at % 4u];
}
//!end

// What a code's value is multiplied by, and what is added to the product.
fn scale_{{J}}(row: u32, col: u32) -> vec2<f32> {
//!if IS_Q4K
  let word = col / 256u * 4u;
//!if SCALE_IS_QUAD
  let words = {{S}}[scale_base_{{J}} + scale_offset_{{J}}(row, word) / 4u];
//!else
  let words = vec4<u32>(scale_word_{{J}}(row, word), scale_word_{{J}}(row, word + 1u),
                        scale_word_{{J}}(row, word + 2u), scale_word_{{J}}(row, word + 3u));
//!end
  return q4_k_step(words, col / {{BLOCK}}u % 8u);
//!else
  let at = scale_offset_{{J}}(row, col / {{BLOCK}}u);
//!if IS_INT8
  let bounds = unpack2x16float({{S}}[scale_base_{{J}} + at / 4u][at % 4u]);
  return vec2<f32>(bounds.y - bounds.x, bounds.x);
//!else
  let both = unpack2x16float({{S}}[scale_base_{{J}} + at / 8u][at / 2u % 4u]);
  return vec2<f32>(select(both.x, both.y, at % 2u == 1u), 0.0);
//!end
//!end
}
//!end

// Four weights of a row that lie side by side, from a col that is a multiple of four.
fn four_{{J}}(row: u32, col: u32) -> vec4<f32> {
  let at = offset_{{J}}(row, col) - delta_{{J}};
  let quad = base_{{J}} + at / {{VEC}}u;
//!if IS_F32
  return bitcast<vec4<f32>>({{W}}[quad]);
//!else
  let word = at / {{PER_WORD}}u % 4u;
//!if SCALED
//!if IS_CODE4
  let four = {{DTYPE}}_four({{W}}[quad][word] >> (at % 8u * 4u));
//!else
  let four = {{DTYPE}}_four({{W}}[quad][word]);
//!end
  let scale = scale_{{J}}(row, col);
  return four * scale.x + scale.y;
//!else
  return vec4<f32>({{DTYPE}}_pair({{W}}[quad][word]), {{DTYPE}}_pair({{W}}[quad][word + 1u]));
//!end
//!end
}

// One weight.
fn weight_{{J}}(row: u32, col: u32) -> f32 {
  let at = offset_{{J}}(row, col) - delta_{{J}};
  let word = {{W}}[base_{{J}} + at / {{VEC}}u][at / {{PER_WORD}}u % 4u];
//!if SCALED
  let scale = scale_{{J}}(row, col);
  return {{DTYPE}}_element(word, at) * scale.x + scale.y;
//!else
  return {{DTYPE}}_element(word, at);
//!end
}
