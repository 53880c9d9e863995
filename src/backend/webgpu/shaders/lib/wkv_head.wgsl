  // Both recurrences, inside main(): what a value index `channel` has for all tokens, and its place in a quad.
  let k_k = bitcast<f32>({{K_K}}[{{K_K_BASE}}u + channel / 4u][channel % 4u]);
  let k_a = bitcast<f32>({{K_A}}[{{K_A_BASE}}u + channel / 4u][channel % 4u]);
  let r_k = bitcast<f32>({{R_K}}[{{R_K_BASE}}u + channel / 4u][channel % 4u]);
  let ln_weight = bitcast<f32>({{LN_X_WEIGHT}}[{{LN_X_WEIGHT_BASE}}u + channel / 4u][channel % 4u]);
  let ln_bias = bitcast<f32>({{LN_X_BIAS}}[{{LN_X_BIAS_BASE}}u + channel / 4u][channel % 4u]);
  let quad = value / 4u;
  let place = value % 4u;
