// Rows normalised: out[i] = LN(row(i)). The rows are those of the batch's tokens in a matrix of embeddings, the rows
// that the host looked up there, or those of the tokens whose logits are asked for. One workgroup a row.
//!include lib/reduce.wgsl
//!if IS_EMBEDDING
fn input_quad(row: u32, quad: u32) -> vec4<f32> {
  let col = quad * 4u;
  return vec4<f32>(weight_0(row, col), weight_0(row, col + 1u), weight_0(row, col + 2u), weight_0(row, col + 3u));
}
//!else
//!include lib/row_norm.wgsl
//!end

fn run(group: vec3<u32>, lane: u32) {
  let i = group.x;
//!if IS_EMBEDDING
//!if IS_DRAWN
  let row = {{DRAWS}}[1];
//!else
  let row = {{BATCH}}[{{TOKENS_AT}}u + i].x;
//!end
//!end
//!if IS_HOST_ROWS
  let row = i;
//!end
//!if IS_LOGITS
  let row = {{BATCH}}[{{BATCH}}[0].w + i].x;
//!end
//!repeat n NORM_LOADS
  var quad_{{n}} = vec4<f32>();
  let at_{{n}} = lane + {{n}}u * {{GROUP_THREADS}}u;
  if (at_{{n}} < {{COLS}}u / 4u) {
    quad_{{n}} = input_quad(row, at_{{n}});
  }
//!end
  var sum = vec4<f32>();
//!repeat n NORM_LOADS
  sum = sum + quad_{{n}};
//!end
  let mean = sum_all(dot(sum, vec4<f32>(1.0)), lane, 0u) / {{COLS}}.0;
  var squares = 0.0;
//!repeat n NORM_LOADS
  if (at_{{n}} < {{COLS}}u / 4u) {
    let deviation = quad_{{n}} - mean;
    squares = squares + dot(deviation, deviation);
  }
//!end
  let scale = inverseSqrt(sum_all(squares, lane, 1u) / {{COLS}}.0 + {{EPS}});
//!repeat n NORM_LOADS
  if (at_{{n}} < {{COLS}}u / 4u) {
    let weight = bitcast<vec4<f32>>({{LN_WEIGHT}}[{{LN_WEIGHT_BASE}}u + at_{{n}}]);
    let bias = bitcast<vec4<f32>>({{LN_BIAS}}[{{LN_BIAS_BASE}}u + at_{{n}}]);
    let out = (quad_{{n}} - mean) * scale * weight + bias;
    let at = {{OUT_OFFSET}}u + i * {{OUT_STRIDE}}u + at_{{n}} * 4u;
    {{OUT}}[at] = out.x;
    {{OUT}}[at + 1u] = out.y;
    {{OUT}}[at + 2u] = out.z;
    {{OUT}}[at + 3u] = out.w;
  }
//!end
}
//!include lib/main.wgsl
