// Job {{J}}: rows of {{COLS}} from one activation to another.
fn copy_{{J}}(item: u32) {
  let token = item / {{COLS}}u;
  let col = item % {{COLS}}u;
  if (token < {{NUM_TOKENS}}) {
    {{OUT}}[{{OUT_OFFSET}}u + token * {{OUT_STRIDE}}u + col] = {{X}}[{{X_OFFSET}}u + token * {{X_STRIDE}}u + col];
  }
}
