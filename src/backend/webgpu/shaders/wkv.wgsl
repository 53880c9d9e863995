// The recurrence of one head of one run, token after token, with its normalisations, bonus and gate. One thread a value
// index; its row of S stays in registers from the run's first token to its last.
//   S = S diag(w) - (S kk)(kk a)^T + v k^T;  y = (GN(S r) + (sum r k r_k) v) g
var<workgroup> sh_r: array<vec4<f32>, {{HEAD_QUADS}}>;
var<workgroup> sh_w: array<vec4<f32>, {{HEAD_QUADS}}>;
var<workgroup> sh_k: array<vec4<f32>, {{HEAD_QUADS}}>;
var<workgroup> sh_kk: array<vec4<f32>, {{HEAD_QUADS}}>;
var<workgroup> sh_kka: array<vec4<f32>, {{HEAD_QUADS}}>;
var<workgroup> sh_sum: array<vec4<f32>, {{HEAD_QUADS}}>;


// The sum of sh_sum, which all threads have written.
fn sum_head() -> f32 {
  var sum = vec4<f32>();
//!repeat q HEAD_QUADS
  sum = sum + sh_sum[{{q}}];
//!end
  return dot(sum, vec4<f32>(1.0));
}

@compute @workgroup_size({{HEAD_SIZE}})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.x;
  let run = {{BATCH}}[{{BATCH}}[0].z + group.y];
  let channel = head * {{HEAD_SIZE}}u + lane;
  let state = run.x * {{STATE_STRIDE}}u + {{STATE_BASE}}u + head * {{STATE_HEAD}}u + lane * {{STATE_VALUE}}u;
  let k_k = bitcast<f32>({{K_K}}[{{K_K_BASE}}u + channel / 4u][channel % 4u]);
  let k_a = bitcast<f32>({{K_A}}[{{K_A_BASE}}u + channel / 4u][channel % 4u]);
  let r_k = bitcast<f32>({{R_K}}[{{R_K_BASE}}u + channel / 4u][channel % 4u]);
  let ln_weight = bitcast<f32>({{LN_X_WEIGHT}}[{{LN_X_WEIGHT_BASE}}u + channel / 4u][channel % 4u]);
  let ln_bias = bitcast<f32>({{LN_X_BIAS}}[{{LN_X_BIAS_BASE}}u + channel / 4u][channel % 4u]);
  let quad = lane / 4u;
  let part = lane % 4u;
//!repeat q HEAD_QUADS
  var s_{{q}} = vec4<f32>({{STATE}}[state + (4u * {{q}}u) * {{STATE_KEY}}u],
                      {{STATE}}[state + (4u * {{q}}u + 1u) * {{STATE_KEY}}u],
                      {{STATE}}[state + (4u * {{q}}u + 2u) * {{STATE_KEY}}u],
                      {{STATE}}[state + (4u * {{q}}u + 3u) * {{STATE_KEY}}u]);
//!end
  for (var token = run.y; token < run.y + run.z; token = token + 1u) {
    let r = {{R}}[{{R_OFFSET}}u + token * {{R_STRIDE}}u + channel];
    let w = {{W}}[{{W_OFFSET}}u + token * {{W_STRIDE}}u + channel];
    let k_in = {{K}}[{{K_OFFSET}}u + token * {{K_STRIDE}}u + channel];
    let v = {{V}}[{{V_OFFSET}}u + token * {{V_STRIDE}}u + channel];
    let a = {{A}}[{{A_OFFSET}}u + token * {{A_STRIDE}}u + channel];
    let g = {{G}}[{{G_OFFSET}}u + token * {{G_STRIDE}}u + channel];
    let kk_long = k_in * k_k;
    let k = k_in * (1.0 + (a - 1.0) * k_a);
    sh_sum[quad][part] = kk_long * kk_long;
    sh_r[quad][part] = r;
    sh_w[quad][part] = w;
    sh_k[quad][part] = k;
    workgroupBarrier();
    let kk = kk_long / max(sqrt(sum_head()), {{NORMALIZE_EPS}});
    sh_kk[quad][part] = kk;
    sh_kka[quad][part] = kk * a;
    workgroupBarrier();
    sh_sum[quad][part] = r * k * r_k;
    var s_kk4 = vec4<f32>();
//!repeat q HEAD_QUADS
    s_kk4 = s_kk4 + s_{{q}} * sh_kk[{{q}}];
//!end
    let s_kk = dot(s_kk4, vec4<f32>(1.0));
    var y4 = vec4<f32>();
//!repeat q HEAD_QUADS
    s_{{q}} = s_{{q}} * sh_w[{{q}}] - s_kk * sh_kka[{{q}}] + v * sh_k[{{q}}];
    y4 = y4 + s_{{q}} * sh_r[{{q}}];
//!end
    var y = dot(y4, vec4<f32>(1.0));
    workgroupBarrier();
    let bonus = sum_head();
    workgroupBarrier();
    sh_sum[quad][part] = y;
    workgroupBarrier();
    let deviation = y - sum_head() / {{HEAD_SIZE}}.0;
    workgroupBarrier();
    sh_sum[quad][part] = deviation * deviation;
    workgroupBarrier();
    let scale = inverseSqrt(sum_head() / {{HEAD_SIZE}}.0 + {{GN_EPS}});
    workgroupBarrier();
    y = deviation * scale * ln_weight + ln_bias + bonus * v;
    {{Y}}[{{Y_OFFSET}}u + token * {{Y_STRIDE}}u + channel] = y * g;
  }
//!repeat q HEAD_QUADS
  {{STATE}}[state + (4u * {{q}}u) * {{STATE_KEY}}u] = s_{{q}}.x;
  {{STATE}}[state + (4u * {{q}}u + 1u) * {{STATE_KEY}}u] = s_{{q}}.y;
  {{STATE}}[state + (4u * {{q}}u + 2u) * {{STATE_KEY}}u] = s_{{q}}.z;
  {{STATE}}[state + (4u * {{q}}u + 3u) * {{STATE_KEY}}u] = s_{{q}}.w;
//!end
}
