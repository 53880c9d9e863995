// f32 to f16; what is beyond f16 becomes its largest.
fn half_quad(x: vec4<f32>) -> vec4<f16> {
  return vec4<f16>(clamp(x, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}
