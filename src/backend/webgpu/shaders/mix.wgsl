// Norm and token shift: y = LN(x), d = y of the token before - y, out_c = y + d * mix_c. The first token of a run finds
// the y before it in the state. A workgroup makes {{GROUP_THREADS}} channels of one token and norms the whole row for it.
// Everything is loaded before the first barrier.
//!if SINGLE
// Every run has one token: its y goes to the state here.
//!else
// The y of a run's last token goes to the state in a dispatch of its own (shift.wgsl): here another workgroup may still
// read what was there.
//!end
//!include lib/reduce.wgsl
//!include lib/row_norm.wgsl

fn run(group: vec3<u32>, lane: u32) {
  let token = group.y;
  let info = {{BATCH}}[{{TOKENS_AT}}u + token];
  let col = group.x * {{GROUP_THREADS}}u + lane;
  let safe_col = min(col, {{COLS}}u - 1u);
  let shift_at = info.y * {{STATE_STRIDE}}u + {{SHIFT}}u + safe_col;
  var before = {{STATE}}[shift_at];
  let x = input(token, safe_col);
  let parameters = norm_parameters(safe_col);
//!repeat c NUM_MIXES
  let at_{{c}} = {{MIX_BASE}}u + {{c}}u * {{MIX_STRIDE}}u + safe_col;
  let mix_{{c}} = bitcast<f32>({{MIX}}[at_{{c}} / 4u][at_{{c}} % 4u]);
//!end
  let norm = row_norm(token, lane);
//!if SINGLE
//!else
  // Whether there is one or not, all threads take part.
  let token_before = token - select(1u, 0u, token == info.z);
  let x_before = input(token_before, safe_col);
  let norm_before = row_norm(token_before, lane);
  if (token != info.z) {
    before = normed(x_before, norm_before, parameters);
  }
//!end
  if (col < {{COLS}}u) {
    let y = normed(x, norm, parameters);
    let d = before - y;
//!if SINGLE
    {{STATE}}[shift_at] = y;
//!end
//!repeat c NUM_MIXES
    {{OUT_{{c}}}}[{{OUT_OFFSET_{{c}}}}u + token * {{OUT_STRIDE}}u + col] = y + d * mix_{{c}};
//!end
//!if SPLITS
    {{X_OUT}}[{{X_OUT_OFFSET}}u + token * {{X_OUT_STRIDE}}u + col] = x;
//!end
  }
}
//!include lib/main.wgsl
