// The recurrence of one head of one run, token after token, with its normalisations, bonus and gate. {{PARTS}} threads
// share a value index, each has {{PART_QUADS}} times four of its keys: that part of S stays in registers from the run's
// first token to its last. The norm of kk is a factor of two sums, so that nothing waits for it.
//   S = S diag(w) - (S kk)(kk a)^T + v k^T;  y = (GN(S r) + (sum r k r_k) v) g
var<workgroup> sh_r: array<vec4<f32>, {{HEAD_QUADS}}>;
var<workgroup> sh_w: array<vec4<f32>, {{HEAD_QUADS}}>;
var<workgroup> sh_k: array<vec4<f32>, {{HEAD_QUADS}}>;
var<workgroup> sh_kk: array<vec4<f32>, {{HEAD_QUADS}}>;   // k k_k, not normalised
var<workgroup> sh_kka: array<vec4<f32>, {{HEAD_QUADS}}>;  // k k_k a, likewise
var<workgroup> sh_bonus: array<vec4<f32>, {{HEAD_QUADS}}>;
var<workgroup> sh_y: array<vec4<f32>, {{HEAD_QUADS}}>;
var<workgroup> sh_s_kk: array<f32, {{GROUP_THREADS}}>;
var<workgroup> sh_s_r: array<f32, {{GROUP_THREADS}}>;

@compute @workgroup_size({{GROUP_THREADS}})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.x;
  let run = {{BATCH}}[{{BATCH}}[0].z + group.y];
  let value = lane % {{HEAD_SIZE}}u;
  let part = lane / {{HEAD_SIZE}}u;
  let first_quad = part * {{PART_QUADS}}u;
  let channel = head * {{HEAD_SIZE}}u + value;
  let state = run.x * {{STATE_STRIDE}}u + {{STATE_BASE}}u + head * {{STATE_HEAD}}u + value * {{STATE_VALUE}}u +
              first_quad * 4u * {{STATE_KEY}}u;
//!repeat q PART_QUADS
  var s_{{q}} = vec4<f32>({{STATE}}[state + (4u * {{q}}u) * {{STATE_KEY}}u],
                      {{STATE}}[state + (4u * {{q}}u + 1u) * {{STATE_KEY}}u],
                      {{STATE}}[state + (4u * {{q}}u + 2u) * {{STATE_KEY}}u],
                      {{STATE}}[state + (4u * {{q}}u + 3u) * {{STATE_KEY}}u]);
//!end
//!include lib/wkv_head.wgsl
  for (var token = run.y; token < run.y + run.z; token = token + 1u) {
    let r = {{R}}[{{R_OFFSET}}u + token * {{R_STRIDE}}u + channel];
    let w = {{W}}[{{W_OFFSET}}u + token * {{W_STRIDE}}u + channel];
    let k_in = {{K}}[{{K_OFFSET}}u + token * {{K_STRIDE}}u + channel];
    let v = {{V}}[{{V_OFFSET}}u + token * {{V_STRIDE}}u + channel];
    let a = {{A}}[{{A_OFFSET}}u + token * {{A_STRIDE}}u + channel];
    let g = {{G}}[{{G_OFFSET}}u + token * {{G_STRIDE}}u + channel];
    if (part == 0u) {
      let kk = k_in * k_k;
      let k = k_in * (1.0 + (a - 1.0) * k_a);
      sh_r[quad][place] = r;
      sh_w[quad][place] = w;
      sh_k[quad][place] = k;
      sh_kk[quad][place] = kk;
      sh_kka[quad][place] = kk * a;
      sh_bonus[quad][place] = r * k * r_k;
    }
    workgroupBarrier();
    var kk_sum = vec4<f32>();
    var bonus_sum = vec4<f32>();
//!repeat q HEAD_QUADS
    kk_sum = kk_sum + sh_kk[{{q}}] * sh_kk[{{q}}];
    bonus_sum = bonus_sum + sh_bonus[{{q}}];
//!end
    let kk_scale = 1.0 / max(sqrt(dot(kk_sum, vec4<f32>(1.0))), {{NORMALIZE_EPS}});
    let bonus = dot(bonus_sum, vec4<f32>(1.0));
    var s_kk4 = vec4<f32>();
//!repeat q PART_QUADS
    s_kk4 = s_kk4 + s_{{q}} * sh_kk[first_quad + {{q}}u];
//!end
    sh_s_kk[lane] = dot(s_kk4, vec4<f32>(1.0));
    workgroupBarrier();
    var s_kk = 0.0;
//!repeat p PARTS
    s_kk = s_kk + sh_s_kk[{{p}}u * {{HEAD_SIZE}}u + value];
//!end
    s_kk = s_kk * kk_scale * kk_scale;
    var y4 = vec4<f32>();
//!repeat q PART_QUADS
    s_{{q}} = s_{{q}} * sh_w[first_quad + {{q}}u] - s_kk * sh_kka[first_quad + {{q}}u] + v * sh_k[first_quad + {{q}}u];
    y4 = y4 + s_{{q}} * sh_r[first_quad + {{q}}u];
//!end
    sh_s_r[lane] = dot(y4, vec4<f32>(1.0));
    workgroupBarrier();
    var y = 0.0;
//!repeat p PARTS
    y = y + sh_s_r[{{p}}u * {{HEAD_SIZE}}u + value];
//!end
    if (part == 0u) {
      sh_y[quad][place] = y;
    }
    workgroupBarrier();
    var y_sum = vec4<f32>();
//!repeat q HEAD_QUADS
    y_sum = y_sum + sh_y[{{q}}];
//!end
    let mean = dot(y_sum, vec4<f32>(1.0)) / {{HEAD_SIZE}}.0;
    var squares = vec4<f32>();
//!repeat q HEAD_QUADS
    squares = squares + (sh_y[{{q}}] - mean) * (sh_y[{{q}}] - mean);
//!end
    let scale = inverseSqrt(dot(squares, vec4<f32>(1.0)) / {{HEAD_SIZE}}.0 + {{GN_EPS}});
    if (part == 0u) {
      {{Y}}[{{Y_OFFSET}}u + token * {{Y_STRIDE}}u + channel] = ((y - mean) * scale * ln_weight + ln_bias + bonus * v) * g;
    }
  }
//!repeat q PART_QUADS
  {{STATE}}[state + (4u * {{q}}u) * {{STATE_KEY}}u] = s_{{q}}.x;
  {{STATE}}[state + (4u * {{q}}u + 1u) * {{STATE_KEY}}u] = s_{{q}}.y;
  {{STATE}}[state + (4u * {{q}}u + 2u) * {{STATE_KEY}}u] = s_{{q}}.z;
  {{STATE}}[state + (4u * {{q}}u + 3u) * {{STATE_KEY}}u] = s_{{q}}.w;
//!end
}
