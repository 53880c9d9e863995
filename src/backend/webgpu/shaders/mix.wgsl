// Norm and token shift: y = LN(x), d = y of the token before - y, out_c = y + d * mix_c. The first token of a run finds
// the y before it in the state. A workgroup makes {{GROUP_THREADS}} channels of one token and norms the whole row for it.
//!if SINGLE
// Every run has one token: its y goes to the state here.
//!else
// The y of a run's last token goes to the state in a dispatch of its own (shift.wgsl): here another workgroup may still
// read what was there.
//!end
//!include lib/reduce.wgsl
//!include lib/row_norm.wgsl

@compute @workgroup_size({{GROUP_THREADS}})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let token = group.y;
  let info = {{BATCH}}[{{TOKENS_AT}}u + token];
  let norm = row_norm(token, lane);
  let col = group.x * {{GROUP_THREADS}}u + lane;
//!if SINGLE
  if (col < {{COLS}}u) {
    let y = normed(token, col, norm);
    let at = info.y * {{STATE_STRIDE}}u + {{SHIFT}}u + col;
    let before = {{STATE}}[at];
    {{STATE}}[at] = y;
//!else
  // Whether there is one or not, all threads take part.
  let token_before = token - select(1u, 0u, token == info.z);
  let norm_before = row_norm(token_before, lane);
  if (col < {{COLS}}u) {
    let y = normed(token, col, norm);
    var before = {{STATE}}[info.y * {{STATE_STRIDE}}u + {{SHIFT}}u + col];
    if (token != info.z) {
      before = normed(token_before, col, norm_before);
    }
//!end
    let d = before - y;
//!repeat c NUM_MIXES
    {
      let at = {{MIX_BASE}}u + {{c}}u * {{MIX_STRIDE}}u + col;
      let mix = bitcast<f32>({{MIX}}[at / 4u][at % 4u]);
      {{OUT_{{c}}}}[{{OUT_OFFSET_{{c}}}}u + token * {{OUT_STRIDE}}u + col] = y + d * mix;
    }
//!end
  }
}
