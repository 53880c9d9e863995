// wkv.wgsl for runs of many tokens: one thread a value index, which has all keys of its row of S in registers. Nothing is
// summed over threads but the group norm, and that by every thread at the next token's barrier: one barrier a token. What all
// threads read of a token changes places with the next one's, whose values are on their way meanwhile.
//   S = S diag(w) - (S kk)(kk a)^T + v k^T;  y = (GN(S r) + (sum r k r_k) v) g
var<workgroup> sh_r: array<vec4<f32>, {{TWO_HEADS_QUADS}}>;
var<workgroup> sh_w: array<vec4<f32>, {{TWO_HEADS_QUADS}}>;
var<workgroup> sh_k: array<vec4<f32>, {{TWO_HEADS_QUADS}}>;
var<workgroup> sh_kk: array<vec4<f32>, {{TWO_HEADS_QUADS}}>;   // k k_k, not normalised
var<workgroup> sh_kka: array<vec4<f32>, {{TWO_HEADS_QUADS}}>;  // k k_k a, likewise
var<workgroup> sh_bonus: array<vec4<f32>, {{TWO_HEADS_QUADS}}>;
var<workgroup> sh_y: array<vec4<f32>, {{TWO_HEADS_QUADS}}>;

@compute @workgroup_size({{HEAD_SIZE}})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) value: u32) {
  let head = group.x;
  let run = {{BATCH}}[{{BATCH}}[0].z + group.y];
  let channel = head * {{HEAD_SIZE}}u + value;
  let state = run.x * {{STATE_STRIDE}}u + {{STATE_BASE}}u + head * {{STATE_HEAD}}u + value * {{STATE_VALUE}}u;
//!repeat q HEAD_QUADS
  var s_{{q}} = vec4<f32>({{STATE}}[state + (4u * {{q}}u) * {{STATE_KEY}}u],
                      {{STATE}}[state + (4u * {{q}}u + 1u) * {{STATE_KEY}}u],
                      {{STATE}}[state + (4u * {{q}}u + 2u) * {{STATE_KEY}}u],
                      {{STATE}}[state + (4u * {{q}}u + 3u) * {{STATE_KEY}}u]);
//!end
//!include lib/wkv_head.wgsl
  let end = run.y + run.z;
  var next_r = {{R}}[{{R_OFFSET}}u + run.y * {{R_STRIDE}}u + channel];
  var next_w = {{W}}[{{W_OFFSET}}u + run.y * {{W_STRIDE}}u + channel];
  var next_k = {{K}}[{{K_OFFSET}}u + run.y * {{K_STRIDE}}u + channel];
  var next_v = {{V}}[{{V_OFFSET}}u + run.y * {{V_STRIDE}}u + channel];
  var next_a = {{A}}[{{A_OFFSET}}u + run.y * {{A_STRIDE}}u + channel];
  var next_g = {{G}}[{{G_OFFSET}}u + run.y * {{G_STRIDE}}u + channel];
  // Of the token before: what is still to be normalised, what is added to it, and its gate.
  var last_y = 0.0;
  var last_bonus = 0.0;
  var last_g = 0.0;
  for (var token = run.y; token <= end; token = token + 1u) {
    let here = (token - run.y) % 2u * {{HEAD_QUADS}}u;
    let there = {{HEAD_QUADS}}u - here;
    let v = next_v;
    let g = next_g;
    {
      let kk = next_k * k_k;
      let k = next_k * (1.0 + (next_a - 1.0) * k_a);
      sh_r[here + quad][place] = next_r;
      sh_w[here + quad][place] = next_w;
      sh_k[here + quad][place] = k;
      sh_kk[here + quad][place] = kk;
      sh_kka[here + quad][place] = kk * next_a;
      sh_bonus[here + quad][place] = next_r * k * r_k;
      sh_y[there + quad][place] = last_y;
    }
    workgroupBarrier();
    if (token > run.y) {
      var y_sum = vec4<f32>();
//!repeat q HEAD_QUADS
      y_sum = y_sum + sh_y[there + {{q}}u];
//!end
      let mean = dot(y_sum, vec4<f32>(1.0)) / {{HEAD_SIZE}}.0;
      var squares = vec4<f32>();
//!repeat q HEAD_QUADS
      let distance_{{q}} = sh_y[there + {{q}}u] - mean;
      squares = fma(distance_{{q}}, distance_{{q}}, squares);
//!end
      let scale = inverseSqrt(dot(squares, vec4<f32>(1.0)) / {{HEAD_SIZE}}.0 + {{GN_EPS}});
      {{Y}}[{{Y_OFFSET}}u + (token - 1u) * {{Y_STRIDE}}u + channel] =
          ((last_y - mean) * scale * ln_weight + ln_bias + last_bonus) * last_g;
    }
    if (token == end) {
      break;
    }
    let next = min(token + 1u, end - 1u);
    next_r = {{R}}[{{R_OFFSET}}u + next * {{R_STRIDE}}u + channel];
    next_w = {{W}}[{{W_OFFSET}}u + next * {{W_STRIDE}}u + channel];
    next_k = {{K}}[{{K_OFFSET}}u + next * {{K_STRIDE}}u + channel];
    next_v = {{V}}[{{V_OFFSET}}u + next * {{V_STRIDE}}u + channel];
    next_a = {{A}}[{{A_OFFSET}}u + next * {{A_STRIDE}}u + channel];
    next_g = {{G}}[{{G_OFFSET}}u + next * {{G_STRIDE}}u + channel];
    var s_kk4 = vec4<f32>();
    var squares4 = vec4<f32>();
    var bonus4 = vec4<f32>();
//!repeat q HEAD_QUADS
    let kk_{{q}} = sh_kk[here + {{q}}u];
    s_kk4 = fma(s_{{q}}, kk_{{q}}, s_kk4);
    squares4 = fma(kk_{{q}}, kk_{{q}}, squares4);
    bonus4 = bonus4 + sh_bonus[here + {{q}}u];
//!end
    // The norm of kk is a factor of two sums.
    let kk_scale = 1.0 / max(sqrt(dot(squares4, vec4<f32>(1.0))), {{NORMALIZE_EPS}});
    let s_kk = dot(s_kk4, vec4<f32>(1.0)) * kk_scale * kk_scale;
    var y4 = vec4<f32>();
//!repeat q HEAD_QUADS
    s_{{q}} = s_{{q}} * sh_w[here + {{q}}u] - s_kk * sh_kka[here + {{q}}u] + v * sh_k[here + {{q}}u];
    y4 = fma(s_{{q}}, sh_r[here + {{q}}u], y4);
//!end
    last_y = dot(y4, vec4<f32>(1.0));
    last_bonus = dot(bonus4, vec4<f32>(1.0)) * v;
    last_g = g;
  }
//!repeat q HEAD_QUADS
  {{STATE}}[state + (4u * {{q}}u) * {{STATE_KEY}}u] = s_{{q}}.x;
  {{STATE}}[state + (4u * {{q}}u + 1u) * {{STATE_KEY}}u] = s_{{q}}.y;
  {{STATE}}[state + (4u * {{q}}u + 2u) * {{STATE_KEY}}u] = s_{{q}}.z;
  {{STATE}}[state + (4u * {{q}}u + 3u) * {{STATE_KEY}}u] = s_{{q}}.w;
//!end
}
