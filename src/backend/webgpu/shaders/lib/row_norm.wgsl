fn input(token: u32, col: u32) -> f32 { return {{X}}[{{X_OFFSET}}u + token * {{X_STRIDE}}u + col]; }

// The mean of a row and one by its deviation. All threads of the workgroup call it.
fn row_norm(token: u32, lane: u32) -> vec2<f32> {
  var sum = 0.0;
  for (var col = lane; col < {{COLS}}u; col = col + {{GROUP_THREADS}}u) {
    sum = sum + input(token, col);
  }
  let mean = sum_all(sum, lane) / {{COLS}}.0;
  var squares = 0.0;
  for (var col = lane; col < {{COLS}}u; col = col + {{GROUP_THREADS}}u) {
    let deviation = input(token, col) - mean;
    squares = squares + deviation * deviation;
  }
  return vec2<f32>(mean, inverseSqrt(sum_all(squares, lane) / {{COLS}}.0 + {{EPS}}));
}

fn normed(token: u32, col: u32, norm: vec2<f32>) -> f32 {
  let weight = bitcast<f32>({{LN_WEIGHT}}[{{LN_WEIGHT_BASE}}u + col / 4u][col % 4u]);
  let bias = bitcast<f32>({{LN_BIAS}}[{{LN_BIAS_BASE}}u + col / 4u][col % 4u]);
  return (input(token, col) - norm.x) * norm.y * weight + bias;
}
