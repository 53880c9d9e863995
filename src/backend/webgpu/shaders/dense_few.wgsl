// Job {{J}}, matrix times up to sixteen vectors, where four cols of a row lie side by side, or eight rows of a col: {{LANES}}
// threads share eight rows, each reads four cols of them at a time and keeps the sums of all tokens in registers. x is read as
// it lies, by all workgroups: what else used workgroup memory would take its place in the cache. The weights of the next
// {{AHEAD}} steps are on their way.
//!if AHEAD
fn pair_{{J}}(row: u32, col: u32) -> vec2<u32> {
  return {{PAIRS}}[pair_base_{{J}} + (offset_{{J}}(row, min(col, cols_{{J}} - 4u)) - delta_{{J}}) / 4u];
}

//!end
fn run_{{J}}(group: u32, lane: u32) {
//!if BY_ROWS
  // Eights of threads side by side have rows side by side, so that together they read longer runs of a col.
  let my_group = lane / 8u % {{GROUPS}}u;
  let first = (lane / 8u / {{GROUPS}}u * 8u + lane % 8u) * 4u;
//!else
  let my_group = lane / {{LANES}}u;
  let first = lane % {{LANES}}u * 4u;
//!end
  let first_row = row_begin_{{J}} + (group * {{GROUPS}}u + my_group) * {{RUN_ROWS}}u;
//!repeat r RUN_ROWS
//!if BY_ROWS
//!else
  let row_{{r}} = min(first_row + {{r}}u, rows_{{J}} - 1u);
//!end
//!repeat z TOKEN_QUADS
  var sum_{{r}}_{{z}} = vec4<f32>();
//!end
//!end
//!if BY_ROWS
  let row = min(first_row, (rows_{{J}} - 1u) / 8u * 8u);
//!end
//!repeat a AHEAD
//!repeat r RUN_ROWS
  var next_{{a}}_{{r}} = pair_{{J}}(row_{{r}}, {{a}}u * {{PASS_COLS}}u + first);
//!end
//!end
  for (var base = 0u; base < cols_{{J}}; base = base + {{PASS_COLS}}u) {
//!if TAIL
    let col = min(base + first, cols_{{J}} - 4u);
    let has_col = base + first < cols_{{J}};
//!else
    let col = base + first;
//!end
//!if BY_ROWS
//!repeat c 4
    let load_{{c}} = words_{{J}}(row, col + {{c}}u);
//!end
//!repeat c 4
    let eight_{{c}}_0 = {{DTYPE}}_quad_0(load_{{c}});
    let eight_{{c}}_1 = {{DTYPE}}_quad_1(load_{{c}});
//!end
//!repeat r RUN_ROWS
    let cols_{{r}} = vec4<f32>(eight_0_{{HALF_{{r}}}}[{{PLACE_{{r}}}}], eight_1_{{HALF_{{r}}}}[{{PLACE_{{r}}}}],
                           eight_2_{{HALF_{{r}}}}[{{PLACE_{{r}}}}], eight_3_{{HALF_{{r}}}}[{{PLACE_{{r}}}}]);
//!end
//!else
//!repeat r RUN_ROWS
//!if AHEAD
    let cols_{{r}} = vec4<f32>({{DTYPE}}_pair(next_0_{{r}}.x), {{DTYPE}}_pair(next_0_{{r}}.y));
    next_0_{{r}} = next_1_{{r}};
    next_1_{{r}} = pair_{{J}}(row_{{r}}, base + {{AHEAD}}u * {{PASS_COLS}}u + first);
//!else
    let cols_{{r}} = four_{{J}}(row_{{r}}, col);
//!end
//!end
//!end
//!repeat r RUN_ROWS
//!if TAIL
    let w_{{r}} = select(vec4<f32>(), cols_{{r}}, has_col);
//!else
    let w_{{r}} = cols_{{r}};
//!end
//!end
//!repeat z TOKEN_QUADS
//!repeat c 4
    {
      // In place of tokens that are not there the last one is read, and nothing stored.
      let x = {{X}}[x_offset_{{J}} + (min({{z}}u * 4u + {{c}}u, {{MAX_TOKENS}}u - 1u) * {{X_STRIDE}}u + col) / 4u];
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
//!if BY_ROWS
    total = total + few_sums[(({{f}}u * {{GROUPS}}u + rows) * {{TOKEN_QUADS}}u + token / 4u) * 8u + i % 8u][token % 4u];
//!else
    total = total + few_sums[((rows * {{FOLDS}}u + {{f}}u) * {{TOKEN_QUADS}}u + token / 4u) * 8u + i % 8u][token % 4u];
//!end
//!end
    let row = row_begin_{{J}} + (group * {{GROUPS}}u + rows) * {{RUN_ROWS}}u + i % 8u;
    if (token < {{NUM_TOKENS}} && row < rows_{{J}}) {
      store_{{J}}(token, row, total);
    }
  }
}
