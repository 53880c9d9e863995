// Job {{J}}, matrix times many vectors: a workgroup makes {{TILE_ROWS}} rows of {{TILE_TOKENS}} tokens, {{TILE_COLS}} cols at a
// time; a thread four rows of {{THREAD_TOKENS}} tokens. Any number of tokens, rows and cols.
fn run_{{J}}(group: u32, token_group: u32, lane: u32) {
  let num_tokens = {{NUM_TOKENS}};
  let row_base = {{ROW_BEGIN}}u + group * {{TILE_ROWS}}u;
  let token_base = token_group * {{TILE_TOKENS}}u;
  let my_row = lane % {{ROW_THREADS}}u;
  let my_token = lane / {{ROW_THREADS}}u;
//!repeat n THREAD_TOKENS
  var sum_{{n}} = vec4<f32>();
//!end
  for (var col_base = 0u; col_base < {{COLS}}u; col_base = col_base + {{TILE_COLS}}u) {
//!if FROM_ROWS
    for (var i = lane; i < {{TILE_VECS}}u; i = i + {{GROUP_THREADS}}u) {
      let part = i % {{ROW_VECS}}u * {{VEC}}u;
      let row_in = i / {{ROW_VECS}}u;
      let row = row_base + row_in;
      let col = col_base + part;
      let inside = row < {{ROWS}}u && col < {{COLS}}u;
      var words = vec4<u32>();
      if (inside) {
        words = words_{{J}}(row, col);
      }
//!if SCALED
      var scale = vec2<f32>();
      if (inside) {
        scale = scale_{{J}}(row, col);
      }
//!end
//!repeat q QUADS
      {
//!if SCALED
        let quad = {{DTYPE}}_quad_{{q}}(words) * scale.x + scale.y;
//!else
        let quad = {{DTYPE}}_quad_{{q}}(words);
//!end
        let at_w = (part + {{q}}u * 4u) * {{TILE_ROWS}}u + row_in;
        weight_tile[at_w] = quad.x;
        weight_tile[at_w + {{TILE_ROWS}}u] = quad.y;
        weight_tile[at_w + 2u * {{TILE_ROWS}}u] = quad.z;
        weight_tile[at_w + 3u * {{TILE_ROWS}}u] = quad.w;
      }
//!end
    }
//!else
    for (var i = lane; i < {{TILE_ROWS}}u * {{TILE_COLS}}u; i = i + {{GROUP_THREADS}}u) {
      // Neighbouring threads take neighbours in memory: rows of a col, or cols of a row.
//!if ROWS_FIRST
      let row_in = i % {{TILE_ROWS}}u;
      let col_in = i / {{TILE_ROWS}}u;
//!else
      let row_in = i / {{TILE_COLS}}u;
      let col_in = i % {{TILE_COLS}}u;
//!end
      var weight = 0.0;
      if (row_base + row_in < {{ROWS}}u && col_base + col_in < {{COLS}}u) {
        weight = weight_{{J}}(row_base + row_in, col_base + col_in);
      }
      weight_tile[col_in * {{TILE_ROWS}}u + row_in] = weight;
    }
//!end
    for (var i = lane; i < {{TILE_TOKENS}}u * {{TILE_COLS}}u; i = i + {{GROUP_THREADS}}u) {
      let token = token_base + i / {{TILE_COLS}}u;
      let col = col_base + i % {{TILE_COLS}}u;
      var x = 0.0;
      if (token < num_tokens && col < {{COLS}}u) {
        x = {{X}}[{{X_OFFSET}}u + token * {{X_STRIDE}}u + col];
      }
      x_tile[i % {{TILE_COLS}}u * {{TILE_TOKENS}}u + i / {{TILE_COLS}}u] = x;
    }
    workgroupBarrier();
    for (var k = 0u; k < {{TILE_COLS}}u; k = k + 1u) {
      let at_k = k * {{TILE_ROWS}}u + my_row;
      let w = vec4<f32>(weight_tile[at_k], weight_tile[at_k + {{ROW_THREADS}}u],
                        weight_tile[at_k + 2u * {{ROW_THREADS}}u], weight_tile[at_k + 3u * {{ROW_THREADS}}u]);
//!repeat n THREAD_TOKENS
      sum_{{n}} = sum_{{n}} + w * x_tile[k * {{TILE_TOKENS}}u + my_token * {{THREAD_TOKENS}}u + {{n}}u];
//!end
    }
    workgroupBarrier();
  }
//!repeat n THREAD_TOKENS
  {
    let token = token_base + my_token * {{THREAD_TOKENS}}u + {{n}}u;
    if (token < num_tokens) {
      let row = row_base + my_row;
      if (row < {{ROWS}}u) { store_{{J}}(token, row, sum_{{n}}.x); }
      if (row + {{ROW_THREADS}}u < {{ROWS}}u) { store_{{J}}(token, row + {{ROW_THREADS}}u, sum_{{n}}.y); }
      if (row + 2u * {{ROW_THREADS}}u < {{ROWS}}u) { store_{{J}}(token, row + 2u * {{ROW_THREADS}}u, sum_{{n}}.z); }
      if (row + 3u * {{ROW_THREADS}}u < {{ROWS}}u) { store_{{J}}(token, row + 3u * {{ROW_THREADS}}u, sum_{{n}}.w); }
    }
  }
//!end
}
