// Y = W X for many tokens, as dense_gemm.cc with dense_gemm_f32.cc go.
#include <algorithm>

#include "plan/address_replay.h"

namespace skein {
namespace {

// `rows` of the cols from col on, decoded to panel[num_cols][panel_rows].
void decode_panel(Replay& replay, const Layout& layout, Range rows, Range cols, uint64_t panel_at,
                  uint32_t panel_rows) {
  const auto panel = [&](uint64_t row, uint64_t col, uint64_t n) {
    const uint64_t place = (col - cols.begin) * panel_rows + (row - rows.begin);
    replay.floats(panel_at + place * kFloatBytes, n);
  };
  const bool runs_of_rows = layout.kind == LayoutKind::kColMajor ||
                            (layout.kind != LayoutKind::kRowMajor && layout.chunk == 1);
  if (runs_of_rows) {
    const uint64_t group = layout.kind == LayoutKind::kColMajor ? replay.rows() : layout.rows;
    for (uint64_t col = cols.begin; col < cols.end; ++col) {
      for (uint64_t row = rows.begin; row < rows.end;) {
        const uint64_t group_end = (row / group + 1) * group;
        const uint64_t n = std::min({kLanes, rows.end - row, group_end - row});
        replay.weights(row, col, n);
        panel(row, col, n);
        row += n;
      }
    }
    return;
  }
  // Runs of cols, never across a chunk's end: four rows are transposed at a time.
  const uint64_t chunk = layout.kind == LayoutKind::kRowMajor ? replay.cols() : layout.chunk;
  for (uint64_t row = rows.begin; row < rows.end; row += 4) {
    const uint64_t num_rows = std::min<uint64_t>(4, rows.end - row);
    for (uint64_t col = cols.begin; col < cols.end;) {
      const uint64_t n = std::min({uint64_t{4}, cols.end - col, (col / chunk + 1) * chunk - col});
      for (uint64_t r = 0; r < num_rows; ++r) replay.weights(row + r, col, n);
      for (uint64_t c = 0; c < n; ++c) panel(row, col + c, num_rows);
      col += n;
    }
  }
}

// One gemm() of dense_gemm.cc.
class MatmulReplay {
 public:
  MatmulReplay(Replay& replay, const Operands& at, const Blocking& blocking)
      : replay_(replay), at_(at), blocking_(blocking) {
    // As ThreadScratch has them: packed x, then the panel.
    panel_at_ = at.scratch_at + round_up(blocking.packed_elems * kFloatBytes, kVectorBytes);
  }

  void run(uint32_t num_tokens) {
    const uint64_t num_blocks = ceil_div(num_tokens, blocking_.token_block);
    const uint64_t block =
        round_up(ceil_div<uint64_t>(num_tokens, num_blocks), uint64_t{blocking_.token_width});
    for (uint64_t token = 0; token < num_tokens; token += block) {
      const Range tokens{token, std::min<uint64_t>(token + block, num_tokens)};
      const uint64_t elems = packed_block_elems(tokens, blocking_.block_cols);
      const uint64_t pass_cols =
          std::max<uint64_t>(1, blocking_.packed_elems / elems) * blocking_.block_cols;
      for (uint64_t col = 0; col < replay_.cols(); col += pass_cols) {
        run_pass(tokens, {col, std::min(col + pass_cols, replay_.cols())});
      }
    }
  }

 private:
  uint64_t packed_block_elems(Range tokens, uint64_t num_cols) const {
    return round_up(tokens.length(), uint64_t{blocking_.token_width}) * num_cols;
  }

  // x of a token panel is copied to packed[col][token_width], four tokens at a time.
  void pack_x(Range tokens, Range cols) {
    const uint64_t width = blocking_.token_width;
    uint64_t packed = at_.scratch_at;
    for (uint64_t col = cols.begin; col < cols.end; col += blocking_.block_cols) {
      const uint64_t num_cols = std::min<uint64_t>(blocking_.block_cols, cols.end - col);
      for (uint64_t token = tokens.begin; token < tokens.end; token += width) {
        for (uint64_t t = 0; t < width; t += 4) {
          const uint64_t first = token + t;
          const uint64_t count = std::min<uint64_t>(4, tokens.end - std::min(tokens.end, first));
          for (uint64_t c = 0; c < num_cols; ++c) {
            for (uint64_t i = 0; c % 4 == 0 && i < count; ++i) {
              replay_.x((first + i) * replay_.cols() + col + c,
                        std::min<uint64_t>(4, num_cols - c));
            }
            replay_.floats(packed + (c * width + t) * kFloatBytes,
                           std::min<uint64_t>(4, width - t));
          }
        }
        packed += width * num_cols * kFloatBytes;
      }
    }
  }

  void run_pass(Range tokens, Range cols) {
    pack_x(tokens, cols);
    const uint64_t piece =
        round_up<uint64_t>(blocking_.panel_rows, group_rows(at_.weights.layout()));
    for_each_row_piece(replay_, piece, [&](Range rows) {
      for (uint64_t row = rows.begin; row < rows.end; row += blocking_.panel_rows) {
        const Range panel{row, std::min<uint64_t>(row + blocking_.panel_rows, rows.end)};
        run_panel(tokens, cols, panel);
      }
      if (tokens.begin == 0) replay_.use(rows.length() * cols.length());
    });
  }

  void run_panel(Range tokens, Range cols, Range rows) {
    uint64_t packed = at_.scratch_at;
    for (uint64_t col = cols.begin; col < cols.end; col += blocking_.block_cols) {
      const Range block{col, std::min<uint64_t>(col + blocking_.block_cols, cols.end)};
      decode_panel(replay_, at_.weights.layout(), rows, block, panel_at_, blocking_.panel_rows);
      for (uint64_t token = tokens.begin; token < tokens.end; token += blocking_.token_width) {
        multiply(rows, block,
                 {token, std::min<uint64_t>(token + blocking_.token_width, tokens.end)}, packed);
        packed += blocking_.token_width * block.length() * kFloatBytes;
      }
    }
  }

  // The microkernel: a col's weights and its tokens' x, then the sums to y.
  void multiply(Range rows, Range cols, Range tokens, uint64_t packed) {
    for (uint64_t c = 0; c < cols.length(); ++c) {
      for (uint64_t r = 0; r < blocking_.panel_rows; r += kLanes) {
        replay_.floats(panel_at_ + (c * blocking_.panel_rows + r) * kFloatBytes, kLanes);
      }
      replay_.broadcasts(packed + c * blocking_.token_width * kFloatBytes, tokens.length());
    }
    for (uint64_t t = tokens.begin; t < tokens.end; ++t) {
      for (uint64_t row = rows.begin; row < rows.end; row += kLanes) {
        const uint64_t n = std::min(kLanes, rows.end - row);
        if (cols.begin != 0) replay_.y(t * replay_.rows() + row, n);
        replay_.y(t * replay_.rows() + row, n);
      }
    }
  }

  Replay& replay_;
  const Operands& at_;
  const Blocking& blocking_;
  uint64_t panel_at_ = 0;
};

}  // namespace
StreamReport replay_matmul(CacheModel& cache, const Operands& at, uint32_t num_tokens,
                           const Blocking& blocking, const StreamOptions& options) {
  CHECK(num_tokens > 0 && num_tokens <= at.max_tokens);
  CHECK(blocking.panel_rows != 0 && blocking.panel_rows % kLanes == 0);
  CHECK(blocking.block_cols != 0 && blocking.token_width != 0 && blocking.token_block != 0);
  const uint64_t block_tokens = uint64_t{blocking.token_block} + blocking.token_width;
  CHECK(block_tokens * blocking.block_cols <= blocking.packed_elems);
  const uint64_t panel_elems = uint64_t{blocking.panel_rows} * blocking.block_cols;
  CHECK((blocking.packed_elems + panel_elems + kLanes) * kFloatBytes < kGemmScratchBytes);
  Replay replay(cache, at, options);
  MatmulReplay(replay, at, blocking).run(num_tokens);
  return replay.report();
}

}  // namespace skein
