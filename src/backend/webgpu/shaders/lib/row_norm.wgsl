// Four channels of x. With partials x is not yet complete: what sparse.wgsl left is still to be added.
fn input_quad(token: u32, quad: u32) -> vec4<f32> {
//!if X_QUADS
  var value = {{X}}[({{X_OFFSET}}u + token * {{X_STRIDE}}u) / 4u + quad];
//!else
  let at = {{X_OFFSET}}u + token * {{X_STRIDE}}u + quad * 4u;
  var value = vec4<f32>({{X}}[at], {{X}}[at + 1u], {{X}}[at + 2u], {{X}}[at + 3u]);
//!end
//!repeat p SPLITS
  value = value + {{SUMS}}[(token * {{SPLITS}}u + {{p}}u) * ({{COLS}}u / 4u) + quad];
//!end
  return value;
}

fn input(token: u32, col: u32) -> f32 {
//!if X_QUADS
  let at = {{X_OFFSET}}u + token * {{X_STRIDE}}u + col;
  var value = {{X}}[at / 4u][at % 4u];
//!else
  var value = {{X}}[{{X_OFFSET}}u + token * {{X_STRIDE}}u + col];
//!end
//!repeat p SPLITS
  value = value + {{SUMS}}[((token * {{SPLITS}}u + {{p}}u) * {{COLS}}u + col) / 4u][col % 4u];
//!end
  return value;
}

// The mean of a row and one by its deviation. All threads of the workgroup call it. Each keeps its part of the row in
// registers: the loads are all in flight before the first sum.
fn row_norm(token: u32, lane: u32) -> vec2<f32> {
//!repeat i NORM_LOADS
  var quad_{{i}} = vec4<f32>();
  if (lane + {{i}}u * {{GROUP_THREADS}}u < {{COLS}}u / 4u) {
    quad_{{i}} = input_quad(token, lane + {{i}}u * {{GROUP_THREADS}}u);
  }
//!end
  var sum = vec4<f32>();
//!repeat i NORM_LOADS
  sum = sum + quad_{{i}};
//!end
  let mean = sum_all(dot(sum, vec4<f32>(1.0)), lane, 0u) / {{COLS}}.0;
  var squares = 0.0;
//!repeat i NORM_LOADS
  if (lane + {{i}}u * {{GROUP_THREADS}}u < {{COLS}}u / 4u) {
    let deviation = quad_{{i}} - mean;
    squares = squares + dot(deviation, deviation);
  }
//!end
  return vec2<f32>(mean, inverseSqrt(sum_all(squares, lane, 1u) / {{COLS}}.0 + {{EPS}}));
}

// The weight and the bias of a channel.
fn norm_parameters(col: u32) -> vec2<f32> {
  return vec2<f32>(bitcast<f32>({{LN_WEIGHT}}[{{LN_WEIGHT_BASE}}u + col / 4u][col % 4u]),
                   bitcast<f32>({{LN_BIAS}}[{{LN_BIAS_BASE}}u + col / 4u][col % 4u]));
}

fn normed(x: f32, norm: vec2<f32>, parameters: vec2<f32>) -> f32 {
  return (x - norm.x) * norm.y * parameters.x + parameters.y;
}
