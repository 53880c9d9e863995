// Matrix times vectors that are mostly zero, where {{VEC}} rows of a col lie side by side: the cols of zeros are not
// read. A workgroup makes {{GROUP_ROWS}} rows of one of {{SPLITS}} parts of the cols, {{ROUND_COLS}} cols a round: the
// cols that are not zero are listed in workgroup memory, then {{ROW_LANES}} threads read {{GROUP_ROWS}} rows of one col
// and {{COL_LANES}} cols are read at once. Every part's sums of every token are stored; what reads x next adds them.
//!include lib/reduce.wgsl
//!include lib/scan.wgsl
var<workgroup> hot_cols: array<u32, {{ROUND_COLS}}>;
var<workgroup> hot_x: array<f32, {{ROUND_COLS}}>;
var<workgroup> lane_sums: array<vec4<f32>, {{LANE_SUMS}}>;
//!if SCALED
var<workgroup> block_starts: array<u32, {{ROUND_BLOCKS_1}}>;

//!if HAS_LOW
fn scale_quad(row: u32, block: u32, quad: u32) -> array<vec4<f32>, 2> {
//!if IS_Q4K
//!repeat w 4
  let words_{{w}} = {{S}}[scale_base_0 + scale_offset_0(row, block / 8u * 4u + {{w}}u) / 4u + quad];
//!end
//!repeat r 4
  let step_{{r}} = q4_k_step(vec4<u32>(words_0[{{r}}], words_1[{{r}}], words_2[{{r}}], words_3[{{r}}]), block % 8u);
//!end
  return array<vec4<f32>, 2>(vec4<f32>(step_0.x, step_1.x, step_2.x, step_3.x),
                             vec4<f32>(step_0.y, step_1.y, step_2.y, step_3.y));
//!else
  let words = {{S}}[scale_base_0 + scale_offset_0(row, block) / 4u + quad];
  let low = vec4<f32>(unpack2x16float(words.x).x, unpack2x16float(words.y).x, unpack2x16float(words.z).x, unpack2x16float(words.w).x);
  let high = vec4<f32>(unpack2x16float(words.x).y, unpack2x16float(words.y).y, unpack2x16float(words.z).y, unpack2x16float(words.w).y);
  return array<vec4<f32>, 2>(high - low, low);
//!end
}
//!else
fn scale_octet(row: u32, block: u32, octet: u32) -> vec4<u32> {
  return {{S}}[scale_base_0 + scale_offset_0(row, block) / 8u + octet];
}
//!end
//!end

// Lists the cols of a round that are not zero, in ascending order; how many they are.
fn list_hot(token: u32, begin: u32, end: u32, lane: u32) -> u32 {
  let col = begin + lane * 4u;
  var x = vec4<f32>();
  if (col < end) {
    x = {{X}}[{{X_OFFSET}}u + (token * {{X_STRIDE}}u + col) / 4u];
  }
  let is_hot = vec4<u32>(x != vec4<f32>());
  let place = scan_all(is_hot.x + is_hot.y + is_hot.z + is_hot.w, lane);
//!if SCALED
  if (lane % {{BLOCK_LANES}}u == 0u) {
    block_starts[lane / {{BLOCK_LANES}}u] = place.x;
  }
  if (lane == 0u) {
    block_starts[{{ROUND_BLOCKS}}u] = place.y;
  }
//!end
  var at = place.x;
//!repeat i 4
  if (is_hot[{{i}}] != 0u) {
    hot_cols[at] = col + {{i}}u;
    hot_x[at] = x[{{i}}];
    at = at + 1u;
  }
//!end
  workgroupBarrier();
  return place.y;
}

fn run(group: vec3<u32>, lane: u32) {
//!if HAS_TABLE
  {{START}}
//!end
  let row_lane = lane % {{ROW_LANES}}u;
  let col_lane = lane / {{ROW_LANES}}u;
  let row = min(group.x * {{GROUP_ROWS}}u + row_lane * {{VEC}}u, {{LAST_ROW}}u);
  let split = group.y * {{SPLIT_COLS}}u;
  let split_end = min(split + {{SPLIT_COLS}}u, {{COLS}}u);
//!repeat q QUADS
  var sum_{{q}} = vec4<f32>();
//!end
  for (var begin = split; begin < split_end; begin = begin + {{ROUND_COLS}}u) {
    let count = list_hot(group.z, begin, split_end, lane);
//!if SCALED
    // A thread takes whole blocks, so that a block's scales are read once.
    for (var block = col_lane; block < {{ROUND_BLOCKS}}u; block = block + {{COL_LANES}}u) {
      let stop = block_starts[block + 1u];
//!repeat q QUADS
      var codes_{{q}} = vec4<f32>();
//!end
      var inputs = 0.0;
      for (var i = block_starts[block]; i < stop; i = i + 2u) {
        let next = min(i + 1u, stop - 1u);
        let words_a = words_0(row, hot_cols[i]);
        let words_b = words_0(row, hot_cols[next]);
        let x_a = hot_x[i];
        let x_b = select(0.0, hot_x[next], i + 1u < stop);
        inputs = inputs + x_a + x_b;
//!repeat q QUADS
        codes_{{q}} = codes_{{q}} + {{DTYPE}}_quad_{{q}}(words_a) * x_a + {{DTYPE}}_quad_{{q}}(words_b) * x_b;
//!end
      }
      if (block_starts[block] < stop) {
        let at = begin / {{BLOCK}}u + block;
//!if HAS_LOW
//!repeat q QUADS
        {
          let scales = scale_quad(row, at, {{q}}u);
          sum_{{q}} = sum_{{q}} + codes_{{q}} * scales[0] + scales[1] * inputs;
        }
//!end
//!else
//!repeat o OCTETS
        {
          let words = scale_octet(row, at, {{o}}u);
          sum_{{EVEN_{{o}}}} = sum_{{EVEN_{{o}}}} + codes_{{EVEN_{{o}}}} * vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
          sum_{{ODD_{{o}}}} = sum_{{ODD_{{o}}}} + codes_{{ODD_{{o}}}} * vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w));
        }
//!end
//!end
      }
    }
//!else
    for (var i = col_lane; i < count; i = i + {{UNROLL}}u * {{COL_LANES}}u) {
//!repeat u UNROLL
      let at_{{u}} = min(i + {{u}}u * {{COL_LANES}}u, count - 1u);
      let x_{{u}} = select(0.0, hot_x[at_{{u}}], i + {{u}}u * {{COL_LANES}}u < count);
      let load_{{u}} = words_0(row, hot_cols[at_{{u}}]);
//!end
//!repeat u UNROLL
//!repeat q QUADS
      sum_{{q}} = sum_{{q}} + {{DTYPE}}_quad_{{q}}(load_{{u}}) * x_{{u}};
//!end
//!end
    }
//!end
    workgroupBarrier();
  }
  // The sums of the col lanes meet, {{PASS_QUADS}} quads of rows at a time.
//!repeat p PASSES
//!repeat h PASS_QUADS
  lane_sums[lane * {{PASS_QUADS}}u + {{h}}u] = sum_{{Q_{{p}}_{{h}}}};
//!end
  workgroupBarrier();
  for (var half = {{COL_LANES}}u / 2u; half > 0u; half = half / 2u) {
    if (col_lane < half) {
//!repeat h PASS_QUADS
      lane_sums[lane * {{PASS_QUADS}}u + {{h}}u] = lane_sums[lane * {{PASS_QUADS}}u + {{h}}u] +
                                                   lane_sums[(lane + half * {{ROW_LANES}}u) * {{PASS_QUADS}}u + {{h}}u];
//!end
    }
    workgroupBarrier();
  }
  if (col_lane == 0u && group.x * {{GROUP_ROWS}}u + row_lane * {{VEC}}u < {{ROWS}}u) {
//!repeat h PASS_QUADS
    {{OUT}}[{{OUT_OFFSET}}u + ((group.z * {{ALL_SPLITS}}u + {{FIRST_SPLIT}}u + group.y) * {{ROWS}}u + row) / 4u + {{Q_{{p}}_{{h}}}}u] = lane_sums[lane * {{PASS_QUADS}}u + {{h}}u];
//!end
  }
  workgroupBarrier();
//!end
}
//!include lib/main.wgsl
