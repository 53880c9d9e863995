// Job {{J}}: of a row of a low-rank matrix times the token's x, what one of {{PIECES}} threads has. All loads come first.
fn head_rows_{{J}}(row: u32, piece: u32, token: u32) -> f32 {
//!repeat l LOADS
  let col_{{l}} = ({{l}}u * {{PIECES}}u + piece) * {{VEC}}u;
  let from_{{l}} = min(col_{{l}}, {{COLS}}u - {{VEC}}u);
  let load_{{l}} = words_{{J}}(row, from_{{l}});
//!repeat q QUADS
  let x_{{l}}_{{q}} = {{X}}[{{X_OFFSET}}u + (token * {{X_STRIDE}}u + from_{{l}}) / 4u + {{q}}u];
//!end
//!end
  var sum = vec4<f32>();
//!repeat l LOADS
  {
    var part = vec4<f32>();
//!repeat q QUADS
    part = fma({{DTYPE}}_quad_{{q}}(load_{{l}}), x_{{l}}_{{q}}, part);
//!end
    sum = sum + select(vec4<f32>(), part, col_{{l}} < {{COLS}}u);
  }
//!end
  return dot(sum, vec4<f32>(1.0));
}
