// Job {{J}}: adds what {{SPLITS}} workgroups have summed over their parts of the cols, a quad of rows a thread.
fn sum_{{J}}(item: u32) {
  let num_tokens = {{NUM_TOKENS}};
  let token = item / {{SPLIT_QUADS}}u;
  let quad = item % {{SPLIT_QUADS}}u;
  if (token < num_tokens) {
    var sum = vec4<f32>();
//!repeat s SPLITS
    sum = sum + {{SUMS}}[{{SUMS_BASE}}u + ({{s}}u * num_tokens + token) * {{SPLIT_QUADS}}u + quad];
//!end
    let row = {{ROW_BEGIN}}u + quad * 4u;
//!repeat d 4
    if (row + {{d}}u < {{ROWS}}u) {
      store_{{J}}(token, row + {{d}}u, sum[{{d}}]);
    }
//!end
  }
}
