// Job {{J}}, matrix times vector where {{VEC}} rows of a col lie side by side: {{ROW_LANES}} threads read {{GROUP_ROWS}} rows of one
// col, {{COL_LANES}} cols at a time; the sums of the col lanes meet in workgroup memory.
fn run_{{J}}(group: u32, lane: u32) {
  let row_lane = lane % {{ROW_LANES}}u;
  let col_lane = lane / {{ROW_LANES}}u;
  let row = {{ROW_BEGIN}}u + group * {{GROUP_ROWS}}u + row_lane * {{VEC}}u;
//!repeat q QUADS
  var sum_{{q}} = vec4<f32>();
//!end
  if (row < {{ROWS}}u) {
    for (var col = col_lane; col < {{COLS}}u; col = col + {{COL_LANES}}u) {
      let x = {{X}}[{{X_OFFSET}}u + col];
//!if SPARSE
      if (x == 0.0) {
        continue;
      }
//!end
      let words = words_{{J}}(row, col);
//!repeat q QUADS
      {
//!if SCALED
        let by_0 = scale_{{J}}(min(row + {{q}}u * 4u, {{ROWS}}u - 1u), col);
        let by_1 = scale_{{J}}(min(row + {{q}}u * 4u + 1u, {{ROWS}}u - 1u), col);
        let by_2 = scale_{{J}}(min(row + {{q}}u * 4u + 2u, {{ROWS}}u - 1u), col);
        let by_3 = scale_{{J}}(min(row + {{q}}u * 4u + 3u, {{ROWS}}u - 1u), col);
        let by = vec4<f32>(by_0.x, by_1.x, by_2.x, by_3.x);
        let plus = vec4<f32>(by_0.y, by_1.y, by_2.y, by_3.y);
        sum_{{q}} = sum_{{q}} + ({{DTYPE}}_quad_{{q}}(words) * by + plus) * x;
//!else
        sum_{{q}} = sum_{{q}} + {{DTYPE}}_quad_{{q}}(words) * x;
//!end
      }
//!end
    }
  }
//!repeat q QUADS
  col_sums[lane * {{QUADS}}u + {{q}}u] = sum_{{q}};
//!end
  workgroupBarrier();
  for (var half = {{COL_LANES}}u / 2u; half > 0u; half = half / 2u) {
    if (col_lane < half) {
//!repeat q QUADS
      col_sums[lane * {{QUADS}}u + {{q}}u] = col_sums[lane * {{QUADS}}u + {{q}}u] +
                                             col_sums[(lane + half * {{ROW_LANES}}u) * {{QUADS}}u + {{q}}u];
//!end
    }
    workgroupBarrier();
  }
  for (var i = lane; i < {{GROUP_ROWS}}u; i = i + {{GROUP_THREADS}}u) {
    let out_row = {{ROW_BEGIN}}u + group * {{GROUP_ROWS}}u + i;
    if (out_row < {{ROWS}}u) {
      store_{{J}}(0u, out_row, col_sums[i / 4u][i % 4u]);
    }
  }
}
