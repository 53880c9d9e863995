// Job {{J}}, matrix of f16 times many vectors by 16 x 16 x 16 products of subgroups. A workgroup makes {{TILE_ROWS}} rows
// of {{TILE_TOKENS}} tokens; its eight subgroups share tokens by {{TOKEN_WARPS}}, rows by {{ROW_WARPS}} and cols by
// {{COL_WARPS}}. The vectors are pairs of f16 (halves.wgsl), so that a product is as exact as in f32. Indices are names of
// their own: the library wants it so.
fn run_{{J}}(group: u32, token_group: u32, lane: u32) {
  let num_tokens = {{NUM_TOKENS}};
  let col_warp = subgroup.x % {{COL_WARPS}}u;
  let row_warp = subgroup.x / {{COL_WARPS}}u % {{ROW_WARPS}}u;
  let token_warp = subgroup.x / {{COL_WARPS}}u / {{ROW_WARPS}}u;
  let weight_stride = {{WEIGHT_STRIDE}}u;
  let x_stride = 2u * {{COLS}}u + 16u;
//!repeat n ROW_TILES
  let row_{{n}} = min({{ROW_BEGIN}}u + group * {{TILE_ROWS}}u + (row_warp * {{ROW_TILES}}u + {{n}}u) * 16u, {{ROWS}}u - 16u);
//!end
//!repeat m TOKEN_TILES
  let x_{{m}} = (token_group * {{TILE_TOKENS}}u + (token_warp * {{TOKEN_TILES}}u + {{m}}u) * 16u) * x_stride + 16u;
//!repeat n ROW_TILES
  var sum_{{m}}_{{n}} = coop_mat16x16<f32, C>();
//!end
//!end
  for (var step = col_warp; step < {{FULL_STEPS}}u; step = step + {{UNROLL}}u * {{COL_WARPS}}u) {
//!repeat u UNROLL
    let col_{{u}} = (step + {{u}}u * {{COL_WARPS}}u) * 16u;
//!repeat n ROW_TILES
    let weight_at_{{u}}_{{n}} = {{W16_BASE}}u + offset_{{J}}(row_{{n}}, col_{{u}}) - {{DELTA}}u;
    let weight_{{u}}_{{n}} = {{WEIGHT_LOAD}}<coop_mat16x16<f16, B>>(&{{W16}}[weight_at_{{u}}_{{n}}], weight_stride);
//!end
//!repeat m TOKEN_TILES
    let high_at_{{u}}_{{m}} = x_{{m}} + col_{{u}};
    let low_at_{{u}}_{{m}} = high_at_{{u}}_{{m}} + {{COLS}}u;
    let high_{{u}}_{{m}} = coopLoadT<coop_mat16x16<f16, A>>(&{{X16}}[high_at_{{u}}_{{m}}], x_stride);
    let low_{{u}}_{{m}} = coopLoadT<coop_mat16x16<f16, A>>(&{{X16}}[low_at_{{u}}_{{m}}], x_stride);
//!end
//!end
//!repeat u UNROLL
//!repeat m TOKEN_TILES
//!repeat n ROW_TILES
    sum_{{m}}_{{n}} = coopMultiplyAdd(high_{{u}}_{{m}}, weight_{{u}}_{{n}}, sum_{{m}}_{{n}});
//!end
//!repeat n ROW_TILES
    sum_{{m}}_{{n}} = coopMultiplyAdd(low_{{u}}_{{m}}, weight_{{u}}_{{n}}, sum_{{m}}_{{n}});
//!end
//!end
//!end
  }
//!if TAIL
  for (var step = {{FULL_STEPS}}u + col_warp; step < {{STEPS}}u; step = step + {{COL_WARPS}}u) {
    let col = step * 16u;
//!repeat n ROW_TILES
    let weight_at_{{n}} = {{W16_BASE}}u + offset_{{J}}(row_{{n}}, col) - {{DELTA}}u;
    let weight_{{n}} = {{WEIGHT_LOAD}}<coop_mat16x16<f16, B>>(&{{W16}}[weight_at_{{n}}], weight_stride);
//!end
//!repeat m TOKEN_TILES
    let high_at_{{m}} = x_{{m}} + col;
    let low_at_{{m}} = high_at_{{m}} + {{COLS}}u;
    let high_{{m}} = coopLoadT<coop_mat16x16<f16, A>>(&{{X16}}[high_at_{{m}}], x_stride);
    let low_{{m}} = coopLoadT<coop_mat16x16<f16, A>>(&{{X16}}[low_at_{{m}}], x_stride);
//!repeat n ROW_TILES
    sum_{{m}}_{{n}} = coopMultiplyAdd(high_{{m}}, weight_{{n}}, sum_{{m}}_{{n}});
    sum_{{m}}_{{n}} = coopMultiplyAdd(low_{{m}}, weight_{{n}}, sum_{{m}}_{{n}});
//!end
//!end
  }
//!end
  let tile_stride = {{TILE_ROWS}}u;
//!repeat m TOKEN_TILES
//!repeat n ROW_TILES
  let tile_at_{{m}}_{{n}} = (col_warp * {{TILE_TOKENS}}u + (token_warp * {{TOKEN_TILES}}u + {{m}}u) * 16u) * {{TILE_ROWS}}u +
                            (row_warp * {{ROW_TILES}}u + {{n}}u) * 16u;
  coopStoreT(sum_{{m}}_{{n}}, &sum_tile[tile_at_{{m}}_{{n}}], tile_stride);
//!end
//!end
  workgroupBarrier();
  for (var i = lane; i < {{TILE_TOKENS}}u * {{TILE_ROWS}}u; i = i + {{GROUP_THREADS}}u) {
    let token = token_group * {{TILE_TOKENS}}u + i / {{TILE_ROWS}}u;
    let row = {{ROW_BEGIN}}u + group * {{TILE_ROWS}}u + i % {{TILE_ROWS}}u;
    if (token < num_tokens && row < {{ROWS}}u) {
      var sum = sum_tile[i];
//!repeat c MORE_COL_WARPS
      sum = sum + sum_tile[i + ({{c}}u + 1u) * {{TILE_TOKENS}}u * {{TILE_ROWS}}u];
//!end
      // The inverse of the row's power of two.
      let scale = bitcast<f32>((254u - u32({{X16}}[token * x_stride])) << 23u);
      store_{{J}}(token, row, sum * scale);
    }
  }
}
