// What becomes of a sum of job {{J}}: {{EPILOGUE}}.
fn store_{{J}}(token: u32, row: u32, sum: f32) {
  let at = {{OUT_OFFSET}}u + token * {{OUT_STRIDE}}u + row;
//!if HAS_BIAS
  let bias = bitcast<f32>({{BIAS}}[{{BIAS_BASE}}u + row / 4u][row % 4u]);
//!end
//!if IS_STORE
  {{OUT}}[at] = sum;
//!end
//!if IS_ADD
  {{OUT}}[at] = {{OUT}}[at] + sum;
//!end
//!if IS_TANH
  // Some drivers' tanh overflows far from zero, where it is 1 in f32.
  {{OUT}}[at] = tanh(clamp(sum, -15.0, 15.0));
//!end
//!if IS_SIGMOID
  {{OUT}}[at] = sigmoid(sum);
//!end
//!if IS_BIAS_SIGMOID
  {{OUT}}[at] = sigmoid(bias + sum);
//!end
//!if IS_DECAY
  {{OUT}}[at] = exp({{DECAY_SCALE}} * sigmoid(bias + sum));
//!end
//!if IS_VALUE_RESIDUAL
  let v = {{OUT}}[at];
  let v_first = {{OTHER}}[{{OTHER_OFFSET}}u + token * {{OTHER_STRIDE}}u + row];
  {{OUT}}[at] = v + (v_first - v) * sigmoid(bias + sum);
//!end
//!if IS_SQUARED_RELU
  let positive = max(sum, 0.0);
  {{OUT}}[at] = positive * positive;
//!end
}
