// Rows normalised: out[i] = LN(row(i)). The rows are those of the batch's tokens in a matrix of embeddings, the rows
// that the host looked up there, or those of the tokens whose logits are asked for. One workgroup a row.
//!include lib/reduce.wgsl
//!if IS_EMBEDDING
fn input(row: u32, col: u32) -> f32 { return weight_0(row, col); }
//!else
fn input(row: u32, col: u32) -> f32 { return {{X}}[{{X_OFFSET}}u + row * {{X_STRIDE}}u + col]; }
//!end

@compute @workgroup_size({{GROUP_THREADS}})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = group.x;
//!if IS_EMBEDDING
  let row = {{BATCH}}[{{TOKENS_AT}}u + i].x;
//!end
//!if IS_HOST_ROWS
  let row = i;
//!end
//!if IS_LOGITS
  let row = {{BATCH}}[{{BATCH}}[0].w + i].x;
//!end
  var sum = 0.0;
  for (var col = lane; col < {{COLS}}u; col = col + {{GROUP_THREADS}}u) {
    sum = sum + input(row, col);
  }
  let mean = sum_all(sum, lane) / {{COLS}}.0;
  var squares = 0.0;
  for (var col = lane; col < {{COLS}}u; col = col + {{GROUP_THREADS}}u) {
    let deviation = input(row, col) - mean;
    squares = squares + deviation * deviation;
  }
  let scale = inverseSqrt(sum_all(squares, lane) / {{COLS}}.0 + {{EPS}});
  for (var col = lane; col < {{COLS}}u; col = col + {{GROUP_THREADS}}u) {
    let weight = bitcast<f32>({{LN_WEIGHT}}[{{LN_WEIGHT_BASE}}u + col / 4u][col % 4u]);
    let bias = bitcast<f32>({{LN_BIAS}}[{{LN_BIAS_BASE}}u + col / 4u][col % 4u]);
    {{OUT}}[{{OUT_OFFSET}}u + i * {{OUT_STRIDE}}u + col] = (input(row, col) - mean) * scale * weight + bias;
  }
}
