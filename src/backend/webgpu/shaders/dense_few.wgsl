// Job {{J}}, matrix times up to sixteen vectors, where four cols of a row lie side by side: {{LANES}} threads share eight rows,
// each reads four cols of a row at a time and keeps the sums of all tokens in registers. x is read as it lies, by all
// workgroups: what else used workgroup memory would take its place in the cache.
fn run_{{J}}(group: u32, lane: u32) {
  let my_group = lane / {{LANES}}u;
  let first_row = {{ROW_BEGIN}}u + (group * {{GROUPS}}u + my_group) * {{RUN_ROWS}}u;
//!repeat r RUN_ROWS
  let row_{{r}} = min(first_row + {{r}}u, {{ROWS}}u - 1u);
//!repeat z TOKEN_QUADS
  var sum_{{r}}_{{z}} = vec4<f32>();
//!end
//!end
  let first = lane % {{LANES}}u * 4u;
  for (var base = 0u; base < {{COLS}}u; base = base + {{PASS_COLS}}u) {
//!if TAIL
    let col = min(base + first, {{COLS}}u - 4u);
    let has_col = base + first < {{COLS}}u;
//!repeat r RUN_ROWS
    let w_{{r}} = select(vec4<f32>(), four_{{J}}(row_{{r}}, col), has_col);
//!end
//!else
    let col = base + first;
//!repeat r RUN_ROWS
    let w_{{r}} = four_{{J}}(row_{{r}}, col);
//!end
//!end
//!repeat z TOKEN_QUADS
//!repeat c 4
    {
      // Of tokens that are not there anything is read, and nothing stored.
      let x = {{X}}[{{X_OFFSET}}u + (({{z}}u * 4u + {{c}}u) * {{X_STRIDE}}u + col) / 4u];
//!repeat r RUN_ROWS
      sum_{{r}}_{{z}}[{{c}}] = fma(w_{{r}}.x, x.x, fma(w_{{r}}.y, x.y, fma(w_{{r}}.z, x.z, fma(w_{{r}}.w, x.w, sum_{{r}}_{{z}}[{{c}}]))));
//!end
    }
//!end
//!end
  }
  let place = lane / 8u * {{TOKEN_QUADS}}u;
//!repeat z TOKEN_QUADS
  few_sums[(place + {{z}}u) * 8u + folded_row(lane)] = fold_8(sum_0_{{z}}, sum_1_{{z}}, sum_2_{{z}}, sum_3_{{z}}, sum_4_{{z}}, sum_5_{{z}}, sum_6_{{z}}, sum_7_{{z}}, lane);
//!end
  workgroupBarrier();
  for (var i = lane; i < {{GROUPS}}u * {{SUMS}}u; i = i + {{GROUP_THREADS}}u) {
    let rows = i / {{SUMS}}u;
    let token = i % {{SUMS}}u / 8u;
    var total = 0.0;
//!repeat f FOLDS
    total = total + few_sums[((rows * {{FOLDS}}u + {{f}}u) * {{TOKEN_QUADS}}u + token / 4u) * 8u + i % 8u][token % 4u];
//!end
    let row = {{ROW_BEGIN}}u + (group * {{GROUPS}}u + rows) * {{RUN_ROWS}}u + i % 8u;
    if (token < {{NUM_TOKENS}} && row < {{ROWS}}u) {
      store_{{J}}(token, row, total);
    }
  }
}
