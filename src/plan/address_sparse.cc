// y += W x where most of x is zero, as sparse.cc goes.
#include <algorithm>

#include "plan/address_replay.h"

namespace skein {
namespace {

constexpr uint64_t kColsAtOnce = 4;  // sparse-inl.h

// sparse(), one token: x is listed, eight parts of the list make partial sums, which are added.
void sparse_cols(Replay& replay, const Operands& at, std::span<const uint32_t> cols) {
  const uint64_t list_bytes = round_up(cols.size() * kFloatBytes, kVectorBytes);
  const uint64_t partials_at = at.scratch_at + 2 * list_bytes;
  const uint64_t stride_bytes = (round_up(replay.rows(), kLanes) + kLanes) * kFloatBytes;
  for (uint64_t col = 0; col < replay.cols(); col += kLanes) {
    replay.x(col, std::min(kLanes, replay.cols() - col));
  }
  for (uint64_t i = 0; i < cols.size(); i += kLanes) {
    const uint64_t n = std::min<uint64_t>(kLanes, cols.size() - i);
    replay.floats(at.scratch_at + i * kFloatBytes, n);
    replay.floats(at.scratch_at + list_bytes + i * kFloatBytes, n);
  }
  for (uint32_t p = 0; p < kNumPartitions; ++p) {
    const Range part = share_of(cols.size(), 4, p, kNumPartitions);
    if (replay.take_piece()) {
      add_cols(replay, cols.subspan(part.begin, part.length()), partials_at + p * stride_bytes,
               /*add=*/false);
      replay.use(part.length() * replay.rows());
    }
  }
  for (uint64_t row = 0; row < replay.rows(); row += kLanes) {
    const uint64_t n = std::min(kLanes, replay.rows() - row);
    for (uint32_t p = 0; p < kNumPartitions; ++p) {
      replay.floats(partials_at + p * stride_bytes + row * kFloatBytes, n);
    }
    for (int load_store = 0; load_store < 2; ++load_store) replay.y(row, n);
  }
}

// What a layout other than col_major has to read for the same cols: in each group of rows, the
// weights of one non-zero col after the other.
void sparse_rows(Replay& replay, const Layout& layout, Range rows, std::span<const uint32_t> cols) {
  const uint64_t group = group_rows(layout);
  const bool runs_of_rows = layout.kind != LayoutKind::kRowMajor && layout.chunk == 1;
  for (uint64_t first = rows.begin; first < rows.end; first += group) {
    const uint64_t end = std::min(first + group, rows.end);
    for (const uint32_t col : cols) {
      replay.x(col, 1);
      if (runs_of_rows) {
        replay.weights(first, col, end - first);
        continue;
      }
      for (uint64_t row = first; row < end; ++row) replay.weights(row, col, 1);
    }
    for (uint64_t row = first; row < end; row += kLanes) {
      replay.y(row, std::min(kLanes, end - row));
    }
  }
}

}  // namespace

void add_cols(Replay& replay, std::span<const uint32_t> cols, uint64_t y_at, bool add) {
  const uint64_t first_single = cols.size() / kColsAtOnce * kColsAtOnce;
  for (uint64_t i = 0; i < cols.size();) {
    const uint64_t num_cols = i < first_single ? kColsAtOnce : 1;
    for (uint64_t row = 0; row < replay.rows(); row += kLanes) {
      const uint64_t n = std::min(kLanes, replay.rows() - row);
      if (add || i != 0) replay.floats(y_at + row * kFloatBytes, n);
      for (uint64_t j = 0; j < num_cols; ++j) replay.weights(row, cols[i + j], n);
      replay.floats(y_at + row * kFloatBytes, n);
    }
    i += num_cols;
  }
}

StreamReport replay_sparse(CacheModel& cache, const Operands& at, std::span<const uint32_t> cols,
                           const StreamOptions& options) {
  Replay replay(cache, at, options);
  for (const uint32_t col : cols) CHECK(col < replay.cols());
  const Layout& layout = at.weights.layout();
  if (layout.kind == LayoutKind::kColMajor) {
    sparse_cols(replay, at, cols);
    return replay.report();
  }
  for_each_row_piece(replay, piece_rows(layout), [&](Range rows) {
    sparse_rows(replay, layout, rows, cols);
    replay.use(rows.length() * cols.size());
  });
  return replay.report();
}

}  // namespace skein
