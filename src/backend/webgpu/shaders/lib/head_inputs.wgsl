// w, a, g and v of a head's token from the low-rank vectors: project_out inside the wkv kernel, whose workgroups have what
// they need of it and nothing to do until then. {{PIECES}} threads a row; their sums meet in workgroup memory.
var<workgroup> sh_pieces: array<f32, {{PIECE_SUMS}}>;
var<workgroup> sh_inputs: array<f32, {{INPUTS}}>;

fn head_inputs(head: u32, token: u32, lane: u32) {
  let piece = lane % {{PIECES}}u;
  let own_row = lane / {{PIECES}}u;
  let row = head * {{HEAD_SIZE}}u + own_row;
  // One more a piece, so that neither writers nor readers share a bank.
  let at = piece * {{PIECE_STRIDE}}u + own_row;
//!repeat j JOBS
  sh_pieces[{{j}}u * {{JOB_STRIDE}}u + at] = head_rows_{{j}}(row, piece, token);
//!end
  workgroupBarrier();
  if (lane < 4u * {{HEAD_SIZE}}u) {
    let job = lane / {{HEAD_SIZE}}u;
    let channel = head * {{HEAD_SIZE}}u + lane % {{HEAD_SIZE}}u;
    var sum = 0.0;
    for (var p = 0u; p < {{PIECES}}u; p = p + 1u) {
      sum = sum + sh_pieces[min(job, {{JOBS}}u - 1u) * {{JOB_STRIDE}}u + p * {{PIECE_STRIDE}}u + lane % {{HEAD_SIZE}}u];
    }
    var value = sum;
    if (job == 0u) {
      value = exp({{DECAY_SCALE}} * sigmoid(bitcast<f32>({{W0}}[{{W0_BASE}}u + channel / 4u][channel % 4u]) + sum));
    }
    if (job == 1u) {
      value = sigmoid(bitcast<f32>({{A0}}[{{A0_BASE}}u + channel / 4u][channel % 4u]) + sum);
    }
    if (job == 3u) {
      let v = {{V}}[{{V_OFFSET}}u + token * {{V_STRIDE}}u + channel];
      let first = {{V_FIRST_OFFSET}}u + token * {{V_FIRST_STRIDE}}u + channel;
//!if IS_FIRST_LAYER
      {{V_FIRST}}[first] = v;
      value = v;
//!else
      value = v + ({{V_FIRST}}[first] - v) * sigmoid(bitcast<f32>({{V0}}[{{V0_BASE}}u + channel / 4u][channel % 4u]) + sum);
//!end
    }
    sh_inputs[lane] = value;
  }
  workgroupBarrier();
}
