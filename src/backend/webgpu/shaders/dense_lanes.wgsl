// Job {{J}}, matrix times {{TOKENS}} vectors where the same cols of rows side by side lie side by side: {{ROW_LANES}} threads read
// {{ROW_LANES}} rows, {{PARTS}} such runs of threads take turns at every {{UNIT_COLS}} cols of them, and a thread has {{RUN_ROWS}} rows,
// which share what is read of x. A scale is read once for the weights that it belongs to, not once a load, and nothing is
// summed over threads but the parts at the end. Little code: each dispatch finds its code cold (docs/results.md).
fn run_{{J}}(group: u32, lane: u32) {
//!if PAIR_COPIES
  let bank = lane % {{PAIR_COPIES}}u;
//!end
  let part = lane / {{ROW_LANES}}u;
  let first_row = row_begin_{{J}} + group * {{GROUP_ROWS}}u + lane % {{ROW_LANES}}u;
//!repeat r RUN_ROWS
  let row_{{r}} = min(first_row + {{r}}u * {{ROW_LANES}}u, rows_{{J}} - 1u);
//!repeat t TOKENS
  var sum_{{r}}_{{t}} = 0.0;
//!end
//!end
//!if X_IN_GROUP
  for (var i = lane; i < {{TOKENS}}u * {{COL_QUADS}}u; i = i + {{GROUP_THREADS}}u) {
    group_x[i] = {{FILL_OPEN}}x_offset_{{J}} + i / {{COL_QUADS}}u * ({{X_STRIDE}}u / 4u) + i % {{COL_QUADS}}u{{FILL_CLOSE}};
  }
  workgroupBarrier();
//!end
  for (var base = part * {{UNIT_COLS}}u; base < {{COLS}}u; base = base + {{PARTS}}u * {{UNIT_COLS}}u) {
//!repeat r RUN_ROWS
//!repeat l UNIT_LOADS
    let load_{{r}}_{{l}} = words_{{J}}(row_{{r}}, base + {{l}}u * {{VEC}}u);
//!end
//!repeat s UNIT_STEPS
    let scale_{{r}}_{{s}} = scale_{{J}}(row_{{r}}, base + {{s}}u * {{BLOCK}}u);
//!end
//!end
//!repeat s UNIT_STEPS
//!repeat t TOKENS
    {
//!repeat r RUN_ROWS
      var codes_{{r}} = vec4<f32>();
//!end
//!if HAS_LOW
      var inputs = vec4<f32>();
//!end
//!repeat l STEP_LOADS
      {
//!if X_IN_GROUP
        let at = {{t}}u * {{COL_QUADS}}u + (base + ({{s}}u * {{STEP_LOADS}}u + {{l}}u) * {{VEC}}u) / 4u;
//!else
        let at = x_offset_{{J}} + ({{t}}u * {{X_STRIDE}}u + base + ({{s}}u * {{STEP_LOADS}}u + {{l}}u) * {{VEC}}u) / 4u;
//!end
//!if PAIR_COPIES
//!repeat r RUN_ROWS
        var pairs_{{r}}_0 = vec2<f16>();
        var pairs_{{r}}_1 = vec2<f16>();
//!end
//!repeat w 4
        {
          let x_0 = {{X_OPEN}}at + {{w}}u * 2u{{X_CLOSE}};
          let x_1 = {{X_OPEN}}at + {{w}}u * 2u + 1u{{X_CLOSE}};
//!repeat r RUN_ROWS
          {
            let word = load_{{r}}_{{LOAD_{{s}}_{{l}}}}[{{w}}];
            pairs_{{r}}_0 = fma({{DTYPE}}_pair_of(word, bank), x_0.xy, pairs_{{r}}_0);
            pairs_{{r}}_1 = fma({{DTYPE}}_pair_of(word >> 8u, bank), x_0.zw, pairs_{{r}}_1);
            pairs_{{r}}_0 = fma({{DTYPE}}_pair_of(word >> 16u, bank), x_1.xy, pairs_{{r}}_0);
            pairs_{{r}}_1 = fma({{DTYPE}}_pair_of(word >> 24u, bank), x_1.zw, pairs_{{r}}_1);
          }
//!end
        }
//!end
//!repeat r RUN_ROWS
        codes_{{r}} = codes_{{r}} + vec4<f32>(vec2<f32>(pairs_{{r}}_0), vec2<f32>(pairs_{{r}}_1));
//!end
//!else
//!repeat q QUADS
        {
          let x = {{X_OPEN}}at + {{q}}u{{X_CLOSE}};
//!if HAS_LOW
          inputs = inputs + x;
//!end
//!repeat r RUN_ROWS
          codes_{{r}} = fma({{DTYPE}}_quad_{{q}}(load_{{r}}_{{LOAD_{{s}}_{{l}}}}), x, codes_{{r}});
//!end
        }
//!end
//!end
      }
//!end
//!repeat r RUN_ROWS
      sum_{{r}}_{{t}} = fma(dot(codes_{{r}}, vec4<f32>(1.0)), scale_{{r}}_{{s}}.x, sum_{{r}}_{{t}});
//!if HAS_LOW
      sum_{{r}}_{{t}} = fma(dot(inputs, vec4<f32>(1.0)), scale_{{r}}_{{s}}.y, sum_{{r}}_{{t}});
//!end
//!end
    }
//!end
//!end
  }
//!repeat r RUN_ROWS
//!repeat t TOKENS
  partial[({{t}}u * {{RUN_ROWS}}u + {{r}}u) * {{GROUP_THREADS}}u + lane] = sum_{{r}}_{{t}};
//!end
//!end
  workgroupBarrier();
  // A thread a sum; threads side by side have rows side by side.
  for (var i = lane; i < {{TOKENS}}u * {{GROUP_ROWS}}u; i = i + {{GROUP_THREADS}}u) {
    let first = i / {{ROW_LANES}}u * {{GROUP_THREADS}}u + i % {{ROW_LANES}}u;
    var total = 0.0;
    for (var p = 0u; p < {{PARTS}}u; p = p + 1u) {
      total = total + partial[first + p * {{ROW_LANES}}u];
    }
    let row = row_begin_{{J}} + group * {{GROUP_ROWS}}u + i % {{GROUP_ROWS}}u;
    if (row < rows_{{J}}) {
      store_{{J}}(i / {{GROUP_ROWS}}u, row, total);
    }
  }
}
