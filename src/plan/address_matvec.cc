// y = W x for one token, as dense_row_major.cc, dense_interleave.cc and dense_col_major.cc go.
#include <algorithm>
#include <array>

#include "plan/address_replay.h"

namespace skein {
namespace {

constexpr uint64_t kPieceCols = 64;  // kTurnCols of dense_col_major.cc

// A row's dot product: a vector of weights, a vector of x.
void matvec_rows(Replay& replay, Range rows) {
  for (uint64_t row = rows.begin; row < rows.end; ++row) {
    for (uint64_t col = 0; col < replay.cols(); col += kLanes) {
      const uint64_t n = std::min(kLanes, replay.cols() - col);
      replay.weights(row, col, n);
      replay.x(col, n);
    }
    replay.y(row, 1);
  }
}

// One row group, the sums of its R rows in registers. Chunks shorter than a vector: the R rows'
// chunk is one run, and x is broadcast (dense_interleave.cc). Longer ones: a vector of x, then the
// same cols of each row.
void matvec_row_group(Replay& replay, const Layout& layout, Range rows) {
  for (uint64_t col = 0; col < replay.cols();) {
    const uint64_t chunk_end = std::min((col / layout.chunk + 1) * layout.chunk, replay.cols());
    if (layout.chunk < kLanes) {
      replay.weights(rows.begin, col, uint64_t{layout.rows} * layout.chunk);
      replay.x(col, chunk_end - col);
      col = chunk_end;
      continue;
    }
    const uint64_t n = std::min(kLanes, chunk_end - col);
    replay.x(col, n);
    for (uint64_t row = rows.begin; row < rows.end; ++row) replay.weights(row, col, n);
    col += n;
  }
  for (uint64_t row = rows.begin; row < rows.end; row += kLanes) {
    replay.y(row, std::min(kLanes, rows.end - row));
  }
}

// One row of morton's tiles, tile by tile; y of the T rows is added to once a tile.
void matvec_tile_row(Replay& replay, const Layout& layout, Range rows) {
  for (uint64_t tile = 0; tile < replay.cols(); tile += layout.cols) {
    const uint64_t end = std::min(tile + layout.cols, replay.cols());
    for (uint64_t row = rows.begin; row < rows.end; ++row) {
      for (uint64_t col = tile; col < end; col += kLanes) {
        const uint64_t n = std::min(kLanes, end - col);
        replay.weights(row, col, n);
        replay.x(col, n);
      }
    }
    for (uint64_t row = rows.begin; row < rows.end; row += kLanes) {
      replay.y(row, std::min(kLanes, rows.end - row));
    }
  }
}

void matvec_cols(Replay& replay, uint64_t y_at) {
  std::array<uint32_t, kPieceCols> turn{};
  for (uint64_t col = 0; col < replay.cols(); col += kPieceCols) {
    if (!replay.take_piece()) continue;
    const uint64_t count = std::min(kPieceCols, replay.cols() - col);
    for (uint64_t i = 0; i < count; ++i) turn[i] = static_cast<uint32_t>(col + i);
    for (uint64_t i = 0; i < count; i += kLanes) replay.x(col + i, std::min(kLanes, count - i));
    add_cols(replay, {turn.data(), count}, y_at, col != 0);
    replay.use(count * replay.rows());
  }
}

}  // namespace
StreamReport replay_matvec(CacheModel& cache, const Operands& at, const StreamOptions& options) {
  Replay replay(cache, at, options);
  const Layout& layout = at.weights.layout();
  if (layout.kind == LayoutKind::kColMajor) {
    matvec_cols(replay, at.y_at);
    return replay.report();
  }
  for_each_row_piece(replay, piece_rows(layout), [&](Range piece) {
    replay.use(piece.length() * replay.cols());
    if (layout.kind == LayoutKind::kRowMajor) return matvec_rows(replay, piece);
    for (uint64_t row = piece.begin; row < piece.end; row += layout.rows) {
      const Range rows{row, std::min(row + layout.rows, piece.end)};
      if (layout.kind == LayoutKind::kMorton) {
        matvec_tile_row(replay, layout, rows);
      } else {
        matvec_row_group(replay, layout, rows);
      }
    }
  });
  return replay.report();
}

}  // namespace skein
