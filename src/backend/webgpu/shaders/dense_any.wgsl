// Job {{J}}, matrix times vector in any layout: {{LANES}} threads share a row, one weight at a time.
fn run_{{J}}(group: u32, lane: u32) {
  let row = {{ROW_BEGIN}}u + group * {{GROUP_ROWS}}u + lane / {{LANES}}u;
  let first = lane % {{LANES}}u;
  var sum = 0.0;
  if (row < {{ROWS}}u) {
    for (var col = first; col < {{COLS}}u; col = col + {{LANES}}u) {
      sum = sum + weight_{{J}}(row, col) * {{X}}[{{X_OFFSET}}u + col];
    }
  }
  let total = sum_lanes(sum, lane, {{LANES}}u);
  if (first == 0u && row < {{ROWS}}u) {
    store_{{J}}(0u, row, total);
  }
}
