// Quantized matrix times vectors that are mostly zero, where rows of a col lie side by side: a subgroup takes the blocks of
// cols that share a scale, {{WARPS}} subgroups in turn; a ballot over {{SUBGROUP}} values of x says which cols are not zero, and only
// those are read, {{UNROLL}} at a time, {{WORD_ROWS}} rows a thread. A workgroup makes {{GROUP_ROWS}} rows of one of {{SPLITS}} parts of the cols;
// what reads x next adds the parts. For subgroups of {{SUBGROUP}} threads that are neighbours in the workgroup.
//!include lib/reduce.wgsl
var<workgroup> lane_sums: array<vec4<f32>, {{LANE_SUMS}}>;

fn run(group: vec3<u32>, lane: u32) {
//!if HAS_TABLE
  {{START}}
//!end
  let warp = lane / {{SUBGROUP}}u;
  let place = lane % {{SUBGROUP}}u;
  let row = min(group.x * {{GROUP_ROWS}}u + place * {{WORD_ROWS}}u, {{LAST_ROW}}u);
  let split = group.y * {{SPLIT_COLS}}u;
  let split_end = min(split + {{SPLIT_COLS}}u, {{COLS}}u);
//!repeat q WORD_QUADS
  var sum_{{q}} = vec4<f32>();
//!end
  for (var begin = split + warp * {{BLOCK}}u; begin < split_end; begin = begin + {{WARPS}}u * {{BLOCK}}u) {
//!repeat p BLOCK_PARTS
    let col_{{p}} = begin + {{p}}u * {{SUBGROUP}}u + place;
    var x_{{p}} = {{X}}[{{X_OFFSET}}u + group.z * {{X_STRIDE}}u + min(col_{{p}}, {{COLS}}u - 1u)];
    x_{{p}} = select(0.0, x_{{p}}, col_{{p}} < split_end);
//!end
//!repeat q WORD_QUADS
    let factors_{{q}} = scales_0(min(row + {{q}}u * 4u, {{LAST_QUAD}}u), begin);
    var codes_{{q}} = vec4<f32>();
//!end
    for (var part = 0u; part < {{BLOCK_PARTS}}u; part = part + 1u) {
      var x = x_0;
//!repeat p BLOCK_PARTS
      if (part == {{p}}u) {
        x = x_{{p}};
      }
//!end
      let first = begin + part * {{SUBGROUP}}u;
      var hot = subgroupBallot(x != 0.0).x;
      while (hot != 0u) {
        // Beyond the last one that is not zero anything is read, and counts nothing.
//!repeat u UNROLL
        let has_{{u}} = hot != 0u;
        let place_{{u}} = firstTrailingBit(select(1u, hot, has_{{u}}));
        hot = hot & (hot - select(0u, 1u, has_{{u}}));
        let load_{{u}} = word_0(row, min(first + place_{{u}}, {{COLS}}u - 1u));
//!end
//!repeat u UNROLL
        let by_{{u}} = select(0.0, subgroupShuffle(x, place_{{u}}), has_{{u}});
//!repeat q WORD_QUADS
        codes_{{q}} = fma({{WORD_QUAD_{{q}}}}(load_{{u}}), vec4<f32>(by_{{u}}), codes_{{q}});
//!end
//!end
      }
    }
//!if HAS_LOW
    var inputs = x_0;
//!repeat p BLOCK_PARTS
    inputs = inputs + select(0.0, x_{{p}}, {{p}}u > 0u);
//!end
    inputs = subgroupAdd(inputs);
//!end
//!repeat q WORD_QUADS
    sum_{{q}} = fma(codes_{{q}}, factors_{{q}}[0], sum_{{q}});
//!if HAS_LOW
    sum_{{q}} = fma(vec4<f32>(inputs), factors_{{q}}[1], sum_{{q}});
//!end
//!end
  }
//!repeat q WORD_QUADS
  lane_sums[warp * {{GROUP_QUADS}}u + place * {{WORD_QUADS}}u + {{q}}u] = sum_{{q}};
//!end
  workgroupBarrier();
  for (var i = lane; i < {{GROUP_QUADS}}u; i = i + {{GROUP_THREADS}}u) {
    var total = vec4<f32>();
    for (var w = 0u; w < {{WARPS}}u; w = w + 1u) {
      total = total + lane_sums[w * {{GROUP_QUADS}}u + i];
    }
    let quad = group.x * {{GROUP_QUADS}}u + i;
    if (quad < {{ROWS}}u / 4u) {
      {{OUT}}[{{OUT_OFFSET}}u + (group.z * {{ALL_SPLITS}}u + {{FIRST_SPLIT}}u + group.y) * ({{ROWS}}u / 4u) + quad] = total;
    }
  }
}
//!include lib/main.wgsl
