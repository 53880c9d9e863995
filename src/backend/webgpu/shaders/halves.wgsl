// Activation {{J}} as two f16 a value, for tensor.wgsl: x 2^e = high + low, with 22 bits between them. The exponent is of
// the whole row, whose largest value comes near the largest f16. A row is 16 f16, the first the exponent's field, then
// {{COLS}} high parts, then {{COLS}} low ones. A workgroup makes a row.
fn halve_{{J}}(token: u32, lane: u32) {
  var largest = 0.0;
  for (var col = lane * 2u; col < {{COLS}}u; col = col + {{GROUP_THREADS}}u * 2u) {
    let at = {{X_OFFSET}}u + token * {{X_STRIDE}}u + col;
    largest = max(largest, max(abs({{X}}[at]), abs({{X}}[at + 1u])));
  }
  let field = min(268u - (bitcast<u32>(max_all(largest)) >> 23u), 253u);
  let scale = bitcast<f32>(field << 23u);
  let row = token * ({{COLS}}u + 8u);
  if (lane == 0u) {
    {{HALVES}}[row] = pack2x16float(vec2<f32>(f32(field), 0.0));
  }
  for (var col = lane * 2u; col < {{COLS}}u; col = col + {{GROUP_THREADS}}u * 2u) {
    let at = {{X_OFFSET}}u + token * {{X_STRIDE}}u + col;
    let x = vec2<f32>({{X}}[at], {{X}}[at + 1u]) * scale;
    let high = pack2x16float(x);
    {{HALVES}}[row + 8u + col / 2u] = high;
    {{HALVES}}[row + 8u + ({{COLS}}u + col) / 2u] = pack2x16float(x - unpack2x16float(high));
  }
}
