// Job {{J}}, matrix times many vectors: a workgroup makes {{TILE_ROWS}} rows of {{TILE_TOKENS}} tokens, {{TILE_COLS}} cols at a
// time, of one of {{SPLITS}} parts of the cols; a thread four rows of {{TOKEN_QUADS}} times four tokens. Any number of tokens,
// rows and cols. While a tile is multiplied, the next one is on its way to registers. The sums of several parts are added by
// sum_splits.wgsl.
fn run_{{J}}(group: u32, token_group: u32, split: u32, lane: u32) {
  let num_tokens = {{NUM_TOKENS}};
  let row_base = {{ROW_BEGIN}}u + group * {{TILE_ROWS}}u;
  let token_base = token_group * {{TILE_TOKENS}}u;
  let my_row = lane % {{ROW_THREADS}}u;
  let my_token = lane / {{ROW_THREADS}}u * {{TOKEN_QUADS}}u;
//!repeat y ROW_QUADS
//!repeat z TOKEN_QUADS
//!repeat c 4
  var sum_{{y}}_{{z}}_{{c}} = vec4<f32>();
//!end
//!end
//!end
  let first_step = split * {{SPLIT_STEPS}}u;
  let end_step = min(first_step + {{SPLIT_STEPS}}u, {{STEPS}}u);
  for (var step = first_step; step <= end_step; step = step + 1u) {
    let col_base = step * {{TILE_COLS}}u;
    // Neighbouring threads take neighbours of workgroup memory.
//!repeat i WEIGHT_LOADS
//!if IS_BY_COLS
    let row_in_{{i}} = ({{i}}u * {{GROUP_THREADS}}u + lane) % {{TILE_ROWS}}u;
    let col_in_{{i}} = ({{i}}u * {{GROUP_THREADS}}u + lane) / {{TILE_ROWS}}u * {{VEC}}u;
//!else
    let row_in_{{i}} = ({{i}}u * {{GROUP_THREADS}}u + lane) % {{ROW_ITEMS}}u * {{ITEM_ROWS}}u;
    let col_in_{{i}} = ({{i}}u * {{GROUP_THREADS}}u + lane) / {{ROW_ITEMS}}u;
//!end
    let has_{{i}} = col_in_{{i}} < {{TILE_COLS}}u && col_base + col_in_{{i}} < {{COLS}}u && row_base + row_in_{{i}} < {{ROWS}}u;
//!if IS_BY_VECTORS
    var load_{{i}} = vec4<u32>();
//!if SCALED_BY_COLS
    var by_{{i}} = vec2<f32>();
//!end
    if (has_{{i}}) {
      load_{{i}} = words_{{J}}(row_base + row_in_{{i}}, col_base + col_in_{{i}});
//!if SCALED_BY_COLS
      by_{{i}} = scale_{{J}}(row_base + row_in_{{i}}, col_base + col_in_{{i}});
//!end
    }
//!else
    var one_{{i}} = 0.0;
    if (has_{{i}}) {
      one_{{i}} = weight_{{J}}(row_base + row_in_{{i}}, col_base + col_in_{{i}});
    }
//!end
//!end
//!repeat i X_LOADS
    let token_in_{{i}} = ({{i}}u * {{GROUP_THREADS}}u + lane) % {{TILE_TOKENS}}u;
    let x_col_in_{{i}} = ({{i}}u * {{GROUP_THREADS}}u + lane) / {{TILE_TOKENS}}u * {{X_VEC}}u;
    let has_x_{{i}} = token_base + token_in_{{i}} < num_tokens && col_base + x_col_in_{{i}} < {{COLS}}u;
//!if X_QUADS
    var x_{{i}} = vec4<f32>();
    if (has_x_{{i}}) {
      x_{{i}} = {{X}}[{{X_OFFSET}}u + ((token_base + token_in_{{i}}) * {{X_STRIDE}}u + col_base + x_col_in_{{i}}) / 4u];
    }
//!else
    var x_{{i}} = 0.0;
    if (has_x_{{i}}) {
      x_{{i}} = {{X}}[{{X_OFFSET}}u + (token_base + token_in_{{i}}) * {{X_STRIDE}}u + col_base + x_col_in_{{i}}];
    }
//!end
//!end
    if (step > first_step) {
      for (var k = 0u; k < {{TILE_COLS}}u; k = k + {{UNROLL}}u) {
        let at_w = k * {{TILE_ROW_QUADS}}u + my_row;
        let at_x = k * {{TILE_TOKEN_QUADS}}u + my_token;
//!repeat u UNROLL
        {
//!repeat y ROW_QUADS
          let w_{{y}} = weight_tile[at_w + {{u}}u * {{TILE_ROW_QUADS}}u + {{y}}u * {{ROW_THREADS}}u];
//!end
//!repeat z TOKEN_QUADS
          let x_{{z}} = x_tile[at_x + {{u}}u * {{TILE_TOKEN_QUADS}}u + {{z}}u];
//!repeat y ROW_QUADS
//!repeat c 4
          sum_{{y}}_{{z}}_{{c}} = fma(w_{{y}}, vec4<f32>(x_{{z}}[{{c}}]), sum_{{y}}_{{z}}_{{c}});
//!end
//!end
//!end
        }
//!end
      }
    }
    workgroupBarrier();
//!repeat i WEIGHT_LOADS
    if (col_in_{{i}} < {{TILE_COLS}}u) {
//!if IS_BY_VECTORS
//!repeat q QUADS
      {
//!if SCALED_BY_COLS
        let quad = {{DTYPE}}_quad_{{q}}(load_{{i}}) * by_{{i}}.x + by_{{i}}.y;
//!else
//!if SCALED
        let by = scales_{{J}}(min(row_base + row_in_{{i}} + {{q}}u * 4u, {{LAST_QUAD}}u), min(col_base + col_in_{{i}}, {{COLS}}u - 1u));
        let quad = select(vec4<f32>(), {{DTYPE}}_quad_{{q}}(load_{{i}}) * by[0] + by[1], has_{{i}});
//!else
        let quad = {{DTYPE}}_quad_{{q}}(load_{{i}});
//!end
//!end
//!if IS_BY_COLS
        let at = (col_in_{{i}} + {{q}}u * 4u) * {{TILE_ROW_QUADS}}u + row_in_{{i}} / 4u;
        weight_tile[at][row_in_{{i}} % 4u] = quad.x;
        weight_tile[at + {{TILE_ROW_QUADS}}u][row_in_{{i}} % 4u] = quad.y;
        weight_tile[at + 2u * {{TILE_ROW_QUADS}}u][row_in_{{i}} % 4u] = quad.z;
        weight_tile[at + 3u * {{TILE_ROW_QUADS}}u][row_in_{{i}} % 4u] = quad.w;
//!else
        weight_tile[col_in_{{i}} * {{TILE_ROW_QUADS}}u + row_in_{{i}} / 4u + {{q}}u] = quad;
//!end
      }
//!end
//!else
      weight_tile[col_in_{{i}} * {{TILE_ROW_QUADS}}u + row_in_{{i}} / 4u][row_in_{{i}} % 4u] = one_{{i}};
//!end
    }
//!end
//!repeat i X_LOADS
    {
      let at = x_col_in_{{i}} * {{TILE_TOKEN_QUADS}}u + token_in_{{i}} / 4u;
//!if X_QUADS
      x_tile[at][token_in_{{i}} % 4u] = x_{{i}}.x;
      x_tile[at + {{TILE_TOKEN_QUADS}}u][token_in_{{i}} % 4u] = x_{{i}}.y;
      x_tile[at + 2u * {{TILE_TOKEN_QUADS}}u][token_in_{{i}} % 4u] = x_{{i}}.z;
      x_tile[at + 3u * {{TILE_TOKEN_QUADS}}u][token_in_{{i}} % 4u] = x_{{i}}.w;
//!else
      x_tile[at][token_in_{{i}} % 4u] = x_{{i}};
//!end
    }
//!end
    workgroupBarrier();
  }
//!repeat y ROW_QUADS
  let row_{{y}} = row_base + ({{y}}u * {{ROW_THREADS}}u + my_row) * 4u;
//!repeat z TOKEN_QUADS
//!repeat c 4
  {
    let token = token_base + (my_token + {{z}}u) * 4u + {{c}}u;
    if (token < num_tokens) {
//!if IS_SPLIT
      if (row_{{y}} < {{ROWS}}u) {
        {{SUMS}}[{{SUMS_BASE}}u + (split * num_tokens + token) * {{SPLIT_QUADS}}u + (row_{{y}} - {{ROW_BEGIN}}u) / 4u] = sum_{{y}}_{{z}}_{{c}};
      }
//!else
//!repeat d 4
      if (row_{{y}} + {{d}}u < {{ROWS}}u) {
        store_{{J}}(token, row_{{y}} + {{d}}u, sum_{{y}}_{{z}}_{{c}}[{{d}}]);
      }
//!end
//!end
    }
  }
//!end
//!end
//!end
}
