// Job {{J}}, matrix times up to sixteen vectors where {{VEC}} cols of a row lie side by side: a workgroup makes {{TILE_ROWS}}
// rows, {{TILE_COLS}} cols at a time, of one of {{SPLITS}} parts of the cols. A thread has four rows of all tokens: what it reads of a
// row is used sixteen times from registers. {{ROW_THREADS}} threads have all rows; {{COL_THREADS}} such runs take turns with the cols.
// The sums of several parts are added by sum_splits.wgsl.
fn run_{{J}}(group: u32, token_group: u32, split: u32, lane: u32) {
  let num_tokens = {{NUM_TOKENS}};
  let my_row = lane % {{ROW_THREADS}}u;
  let my_turn = lane / {{ROW_THREADS}}u;
  let row = {{ROW_BEGIN}}u + group * {{TILE_ROWS}}u + my_row * 4u;
//!repeat r 4
  let row_{{r}} = min(row + {{r}}u, {{ROWS}}u - 1u);
//!repeat z 4
  var sum_{{r}}_{{z}} = vec4<f32>();
//!end
//!end
  let first_step = split * {{SPLIT_STEPS}}u;
  let end_step = min(first_step + {{SPLIT_STEPS}}u, {{STEPS}}u);
  for (var step = first_step; step < end_step; step = step + 1u) {
    let col_base = step * {{TILE_COLS}}u;
//!repeat i X_LOADS
    let token_in_{{i}} = ({{i}}u * {{GROUP_THREADS}}u + lane) % 16u;
    let x_col_in_{{i}} = ({{i}}u * {{GROUP_THREADS}}u + lane) / 16u * 4u;
    var x_{{i}} = vec4<f32>();
    if (token_in_{{i}} < num_tokens && col_base + x_col_in_{{i}} < {{COLS}}u) {
      x_{{i}} = {{X}}[{{X_OFFSET}}u + (token_in_{{i}} * {{X_STRIDE}}u + col_base + x_col_in_{{i}}) / 4u];
    }
//!end
    workgroupBarrier();
//!repeat i X_LOADS
    {
      let at = x_col_in_{{i}} * 4u + token_in_{{i}} / 4u;
      x_tile[at][token_in_{{i}} % 4u] = x_{{i}}.x;
      x_tile[at + 4u][token_in_{{i}} % 4u] = x_{{i}}.y;
      x_tile[at + 8u][token_in_{{i}} % 4u] = x_{{i}}.z;
      x_tile[at + 12u][token_in_{{i}} % 4u] = x_{{i}}.w;
    }
//!end
    workgroupBarrier();
    for (var col_in = my_turn * {{LOAD_COLS}}u; col_in < {{TILE_COLS}}u; col_in = col_in + {{COL_THREADS}}u * {{LOAD_COLS}}u) {
      // Beyond the last col x is zero: any weight will do.
      let col = min(col_base + col_in, {{COLS}}u - {{LOAD_COLS}}u);
//!repeat r 4
      let load_{{r}} = {{LOAD}}_{{J}}(row_{{r}}, col);
//!if SCALED
      let by_{{r}} = scale_{{J}}(row_{{r}}, col);
//!end
//!end
//!repeat q LOAD_QUADS
      {
//!repeat r 4
//!if SCALED
        let w_{{r}} = {{QUAD}}_{{q}}(load_{{r}}) * by_{{r}}.x + by_{{r}}.y;
//!else
        let w_{{r}} = {{QUAD}}_{{q}}(load_{{r}});
//!end
//!end
//!repeat c 4
//!repeat z 4
        {
          let x = x_tile[(col_in + {{q}}u * 4u + {{c}}u) * 4u + {{z}}u];
//!repeat r 4
          sum_{{r}}_{{z}} = fma(vec4<f32>(w_{{r}}[{{c}}]), x, sum_{{r}}_{{z}});
//!end
        }
//!end
//!end
      }
//!end
    }
  }
  // The turns' sums meet, one turn after the other.
  for (var turn = 1u; turn < {{COL_THREADS}}u; turn = turn + 1u) {
    workgroupBarrier();
    if (my_turn == turn) {
//!repeat r 4
//!repeat z 4
      x_tile[my_row * 16u + {{r}}u * 4u + {{z}}u] = sum_{{r}}_{{z}};
//!end
//!end
    }
    workgroupBarrier();
//!repeat r 4
//!repeat z 4
    sum_{{r}}_{{z}} = sum_{{r}}_{{z}} + x_tile[my_row * 16u + {{r}}u * 4u + {{z}}u];
//!end
//!end
  }
  if (my_turn == 0u) {
//!repeat z 4
//!repeat c 4
    if ({{z}}u * 4u + {{c}}u < num_tokens) {
      let token = {{z}}u * 4u + {{c}}u;
//!if IS_SPLIT
      if (row < {{ROWS}}u) {
        {{SUMS}}[{{SUMS_BASE}}u + (split * num_tokens + token) * {{SPLIT_QUADS}}u + (row - {{ROW_BEGIN}}u) / 4u] =
            vec4<f32>(sum_0_{{z}}[{{c}}], sum_1_{{z}}[{{c}}], sum_2_{{z}}[{{c}}], sum_3_{{z}}[{{c}}]);
      }
//!else
//!repeat r 4
      if (row + {{r}}u < {{ROWS}}u) {
        store_{{J}}(token, row + {{r}}u, sum_{{r}}_{{z}}[{{c}}]);
      }
//!end
//!end
    }
//!end
//!end
  }
}
