// Job {{J}}, matrix times {{TOKENS}} vectors where {{VEC}} cols of a row lie side by side: {{LANES}} threads share
// {{RUN_ROWS}} rows, each reads {{LOAD_COLS}} cols of a row at a time. Loads come first and are unrolled, so that many are in
// flight.
fn run_{{J}}(group: u32, lane: u32) {
  let first_row = row_begin_{{J}} + group * {{GROUP_ROWS}}u + lane / {{LANES}}u * {{RUN_ROWS}}u;
  let first = lane % {{LANES}}u;
//!repeat r RUN_ROWS
  let row_{{r}} = min(first_row + {{r}}u, rows_{{J}} - 1u);
//!repeat t TOKENS
  var sum_{{r}}_{{t}} = vec4<f32>();
//!end
//!end
//!if LOOPS
  for (var base = 0u; base < {{FULL_COLS}}u; base = base + {{LOOP_COLS}}u) {
//!repeat i CHUNKS
    let col_{{i}} = base + ({{i}}u * {{LANES}}u + first) * {{LOAD_COLS}}u;
//!repeat r RUN_ROWS
    let load_{{i}}_{{r}} = {{LOAD}}_{{J}}(row_{{r}}, col_{{i}});
//!if SCALED
    let scale_{{i}}_{{r}} = scale_{{J}}(row_{{r}}, col_{{i}});
//!end
//!end
//!end
//!repeat i CHUNKS
//!repeat t TOKENS
    {
      let at = x_offset_{{J}} + ({{t}}u * {{X_STRIDE}}u + col_{{i}}) / 4u;
//!repeat q LOAD_QUADS
      let x_{{q}} = {{X}}[at + {{q}}u];
//!end
//!if HAS_LOW
      var inputs = vec4<f32>();
//!repeat q LOAD_QUADS
      inputs = inputs + x_{{q}};
//!end
//!end
//!repeat r RUN_ROWS
//!if SCALED
      {
        var codes = vec4<f32>();
//!repeat q LOAD_QUADS
        codes = codes + {{QUAD}}_{{q}}(load_{{i}}_{{r}}) * x_{{q}};
//!end
        sum_{{r}}_{{t}} = sum_{{r}}_{{t}} + codes * scale_{{i}}_{{r}}.x;
//!if HAS_LOW
        sum_{{r}}_{{t}} = sum_{{r}}_{{t}} + inputs * scale_{{i}}_{{r}}.y;
//!end
      }
//!else
//!repeat q LOAD_QUADS
      sum_{{r}}_{{t}} = sum_{{r}}_{{t}} + {{QUAD}}_{{q}}(load_{{i}}_{{r}}) * x_{{q}};
//!end
//!end
//!end
    }
//!end
//!end
  }
//!end
//!if TAIL
  // The last cols, which not every thread has.
  for (var col = {{FULL_COLS}}u + first * {{LOAD_COLS}}u; col < {{COLS}}u; col = col + {{LANES}}u * {{LOAD_COLS}}u) {
//!repeat r RUN_ROWS
    let load_{{r}} = {{LOAD}}_{{J}}(row_{{r}}, col);
//!if SCALED
    let by_{{r}} = scale_{{J}}(row_{{r}}, col);
//!end
//!end
//!repeat t TOKENS
    {
      let at = x_offset_{{J}} + ({{t}}u * {{X_STRIDE}}u + col) / 4u;
//!repeat q LOAD_QUADS
      let x_{{q}} = {{X}}[at + {{q}}u];
//!end
//!if HAS_LOW
      var inputs = vec4<f32>();
//!repeat q LOAD_QUADS
      inputs = inputs + x_{{q}};
//!end
//!end
//!repeat r RUN_ROWS
//!if SCALED
      {
        var codes = vec4<f32>();
//!repeat q LOAD_QUADS
        codes = codes + {{QUAD}}_{{q}}(load_{{r}}) * x_{{q}};
//!end
        sum_{{r}}_{{t}} = sum_{{r}}_{{t}} + codes * by_{{r}}.x;
//!if HAS_LOW
        sum_{{r}}_{{t}} = sum_{{r}}_{{t}} + inputs * by_{{r}}.y;
//!end
      }
//!else
//!repeat q LOAD_QUADS
      sum_{{r}}_{{t}} = sum_{{r}}_{{t}} + {{QUAD}}_{{q}}(load_{{r}}) * x_{{q}};
//!end
//!end
//!end
    }
//!end
  }
//!end
//!if BY_SUBGROUPS
  // All threads share the rows: one barrier for all sums, then a thread a sum.
//!repeat r RUN_ROWS
//!repeat t TOKENS
  let part_{{r}}_{{t}} = subgroupAdd(dot(sum_{{r}}_{{t}}, vec4<f32>(1.0)));
//!end
//!end
  if (subgroup.y == 0u) {
//!repeat r RUN_ROWS
//!repeat t TOKENS
    partial[({{t}}u * {{RUN_ROWS}}u + {{r}}u) * {{MAX_SUBGROUPS}}u + subgroup.x] = part_{{r}}_{{t}};
//!end
//!end
  }
  workgroupBarrier();
  if (lane < {{RUN_ROWS}}u * {{TOKENS}}u && first_row + lane % {{RUN_ROWS}}u < rows_{{J}}) {
    var total = 0.0;
    for (var i = 0u; i < subgroup.z; i = i + 1u) {
      total = total + partial[lane * {{MAX_SUBGROUPS}}u + i];
    }
    store_{{J}}(lane / {{RUN_ROWS}}u, first_row + lane % {{RUN_ROWS}}u, total);
  }
//!else
//!repeat r RUN_ROWS
//!repeat t TOKENS
  let total_{{r}}_{{t}} = sum_lanes(dot(sum_{{r}}_{{t}}, vec4<f32>(1.0)), lane, {{LANES}}u);
  if (first == 0u && first_row + {{r}}u < rows_{{J}}) {
    store_{{J}}({{t}}u, first_row + {{r}}u, total_{{r}}_{{t}});
  }
//!end
//!end
//!end
}
