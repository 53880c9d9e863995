// Job {{J}}, matrix times {{TOKENS}} vectors where {{VEC}} cols of a row lie side by side: {{LANES}} threads share a row, each
// reads sixteen bytes at a time. Loads come first and are unrolled, so that many are in flight.
fn run_{{J}}(group: u32, lane: u32) {
  let row = {{ROW_BEGIN}}u + group * {{GROUP_ROWS}}u + lane / {{LANES}}u;
  let first = lane % {{LANES}}u;
//!repeat t TOKENS
  var sum_{{t}} = vec4<f32>();
//!end
  if (row < {{ROWS}}u) {
//!if LOOPS
    for (var base = 0u; base < {{FULL_COLS}}u; base = base + {{LOOP_COLS}}u) {
//!repeat i CHUNKS
      let col_{{i}} = base + ({{i}}u * {{LANES}}u + first) * {{VEC}}u;
      let load_{{i}} = words_{{J}}(row, col_{{i}});
//!end
//!repeat i CHUNKS
      {
        let words = load_{{i}};
        let col = col_{{i}};
//!if SCALED
        let scale = scale_{{J}}(row, col);
//!end
//!repeat t TOKENS
        {
          let at = {{X_OFFSET}}u + ({{t}}u * {{X_STRIDE}}u + col) / 4u;
//!if SCALED
          var codes = vec4<f32>();
          var inputs = vec4<f32>();
//!repeat q QUADS
          codes = codes + {{DTYPE}}_quad_{{q}}(words) * {{X}}[at + {{q}}u];
          inputs = inputs + {{X}}[at + {{q}}u];
//!end
          sum_{{t}} = sum_{{t}} + codes * scale.x + inputs * scale.y;
//!else
//!repeat q QUADS
          sum_{{t}} = sum_{{t}} + {{DTYPE}}_quad_{{q}}(words) * {{X}}[at + {{q}}u];
//!end
//!end
        }
//!end
      }
//!end
    }
//!end
//!if TAIL
    // The last cols, which not every thread has.
    for (var col = {{FULL_COLS}}u + first * {{VEC}}u; col < {{COLS}}u; col = col + {{LANES}}u * {{VEC}}u) {
      let words = words_{{J}}(row, col);
//!if SCALED
      let scale = scale_{{J}}(row, col);
//!end
//!repeat t TOKENS
      {
        let at = {{X_OFFSET}}u + ({{t}}u * {{X_STRIDE}}u + col) / 4u;
//!if SCALED
        var codes = vec4<f32>();
        var inputs = vec4<f32>();
//!repeat q QUADS
        codes = codes + {{DTYPE}}_quad_{{q}}(words) * {{X}}[at + {{q}}u];
        inputs = inputs + {{X}}[at + {{q}}u];
//!end
        sum_{{t}} = sum_{{t}} + codes * scale.x + inputs * scale.y;
//!else
//!repeat q QUADS
        sum_{{t}} = sum_{{t}} + {{DTYPE}}_quad_{{q}}(words) * {{X}}[at + {{q}}u];
//!end
//!end
      }
//!end
    }
//!end
  }
//!repeat t TOKENS
  let total_{{t}} = sum_lanes(dot(sum_{{t}}, vec4<f32>(1.0)), lane, {{LANES}}u);
  if (first == 0u && row < {{ROWS}}u) {
    store_{{J}}({{t}}u, row, total_{{t}});
  }
//!end
}
