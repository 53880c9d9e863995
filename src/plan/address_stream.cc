#include "plan/address_stream.h"

#include <algorithm>
#include <array>

#include "base/bits.h"
#include "base/check.h"
#include "base/thread_pool.h"

namespace skein {
namespace {

constexpr uint64_t kLanes = 16;  // AVX-512
constexpr uint64_t kFloatBytes = sizeof(float);
constexpr uint64_t kVectorBytes = kLanes * kFloatBytes;
constexpr uint64_t kPieceRows = 32;  // dense_row_major.cc's panels
constexpr uint64_t kPieceCols = 64;  // kTurnCols of dense_col_major.cc
constexpr uint64_t kColsAtOnce = 4;  // sparse-inl.h
constexpr uint64_t kGemmScratchBytes = uint64_t{4} << 20;
constexpr uint32_t kNumPartitions = 8;  // sparse.cc

// One op's walk: addresses of weights, x and y, and what is counted on the way.
class Replay {
 public:
  Replay(CacheModel& cache, const Operands& at, const StreamOptions& options)
      : cache_(cache),
        at_(at),
        options_(options),
        before_(cache.counts().begin(), cache.counts().end()) {
    CHECK(options.sample_every > 0);
    const uint64_t line_bytes = cache.config().line_bytes;
    first_line_ = at.weights_at / line_bytes;
    touched_.resize(at.weights.span_bytes() / line_bytes + 2);
  }

  uint64_t rows() const { return at_.weights.extents().rows; }
  uint64_t cols() const { return at_.weights.extents().cols; }

  // Whether the next piece is replayed.
  bool take_piece() {
    const bool take = num_pieces_++ % options_.sample_every == 0;
    num_taken_ += take ? 1 : 0;
    return take;
  }

  // Loads `count` weights that lie side by side from (row, col) on, a vector of lanes at a time.
  void weights(uint64_t row, uint64_t col, uint64_t count) {
    const uint64_t bits = at_.weights.element_bits();
    const uint64_t offset = at_.weights(row, col);
    for (uint64_t i = 0; i < count; i += kLanes) {
      const uint64_t n = std::min(kLanes, count - i);
      const uint64_t begin = (offset + i) * bits / 8, end = ((offset + i + n) * bits + 7) / 8;
      load_weight_bytes(at_.weights_at + begin, end - begin);
    }
  }

  // n <= kLanes floats.
  void floats(uint64_t address, uint64_t n) { cache_.access(address, n * kFloatBytes); }
  void x(uint64_t col, uint64_t n) { floats(at_.x_at + col * kFloatBytes, n); }
  void y(uint64_t row, uint64_t n) { floats(at_.y_at + row * kFloatBytes, n); }
  // n floats, one at a time.
  void broadcasts(uint64_t address, uint64_t n) { cache_.access_elements(address, kFloatBytes, n); }

  void use(uint64_t num_weights) { used_elems_ += num_weights; }

  StreamReport report() const;

 private:
  void load_weight_bytes(uint64_t address, uint64_t num_bytes) {
    cache_.access(address, num_bytes);
    const uint64_t line_bytes = cache_.config().line_bytes;
    const uint64_t last = (address + num_bytes - 1) / line_bytes;
    for (uint64_t line = address / line_bytes; line <= last; ++line) {
      touched_[line - first_line_] = true;
    }
  }

  CacheModel& cache_;
  const Operands& at_;
  const StreamOptions& options_;
  std::vector<CacheCount> before_;
  std::vector<bool> touched_;  // lines of weights
  uint64_t first_line_ = 0;
  uint64_t num_pieces_ = 0, num_taken_ = 0;
  uint64_t used_elems_ = 0;
};

std::vector<CacheCount> difference(std::span<const CacheCount> after,
                                   std::span<const CacheCount> before) {
  std::vector<CacheCount> counts(after.begin(), after.end());
  for (size_t i = 0; i < counts.size(); ++i) {
    counts[i].accesses -= before[i].accesses;
    counts[i].hits -= before[i].hits;
  }
  return counts;
}

StreamReport Replay::report() const {
  StreamReport report;
  report.levels = difference(cache_.counts(), before_);
  const uint64_t line_bytes = cache_.config().line_bytes;
  report.memory_bytes = report.levels.back().misses() * line_bytes;
  report.weight_bytes_touched =
      line_bytes * static_cast<uint64_t>(std::count(touched_.begin(), touched_.end(), true));
  report.weight_bytes_used = (used_elems_ * at_.weights.element_bits() + 7) / 8;
  if (num_pieces_ != 0) {
    report.sampled_percent =
        100.0 * static_cast<double>(num_taken_) / static_cast<double>(num_pieces_);
  }
  return report;
}

// The rows that belong together in a layout: a row group, a row of tiles, or a panel of rows.
uint64_t group_rows(const Layout& layout) {
  switch (layout.kind) {
    case LayoutKind::kInterleave:
    case LayoutKind::kTile:
    case LayoutKind::kMorton:
      return layout.rows;
    case LayoutKind::kRowMajor:
    case LayoutKind::kColMajor:
      break;
  }
  return 1;
}

// The rows of a piece: a whole number of groups.
uint64_t piece_rows(const Layout& layout) { return round_up(kPieceRows, group_rows(layout)); }

// Calls f(rows) for the sampled pieces.
template <class F>
void for_each_row_piece(Replay& replay, uint64_t piece, F&& f) {
  for (uint64_t row = 0; row < replay.rows(); row += piece) {
    if (replay.take_piece()) f(Range{row, std::min(row + piece, replay.rows())});
  }
}

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

// add_cols() of sparse-inl.h: up to four cols at once, y (at `y_at`) read and written for them.
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

// One token of mix_token_into(): norm_of_row() reads x twice, then everything goes by vectors.
struct MixAt {
  uint64_t x, shift, ln_weight, ln_bias;
  std::array<uint64_t, kNumMixes> mix, out;
};

void mix_token(CacheModel& cache, const MixAt& at, uint32_t num_emb) {
  const uint64_t row_bytes = uint64_t{num_emb} * kFloatBytes;
  const auto vector = [&](uint64_t address, uint64_t i) {
    cache.access(address + i, std::min(kVectorBytes, row_bytes - i));
  };
  for (int pass = 0; pass < 2; ++pass) {
    for (uint64_t i = 0; i < row_bytes; i += kVectorBytes) vector(at.x, i);
  }
  for (uint64_t i = 0; i < row_bytes; i += kVectorBytes) {
    for (const uint64_t from : {at.x, at.ln_weight, at.ln_bias, at.shift, at.shift}) {
      vector(from, i);
    }
    for (uint32_t c = 0; c < kNumMixes; ++c) {
      vector(at.mix[c], i);
      vector(at.out[c], i);
    }
  }
}

double percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? 100.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

uint64_t AddressSpace::place(uint64_t num_bytes) {
  constexpr uint64_t kHugePage = uint64_t{1} << 21;
  const uint64_t begin = round_up(next_, num_bytes >= kHugePage ? kHugePage : uint64_t{4096});
  next_ = begin + num_bytes;
  return begin;
}

Result<Operands> place_operands(AddressSpace& space, const AnyMapping& weights,
                                uint32_t max_tokens) {
  const Extents extents = weights.extents();
  // A quarter of the model's addresses each: then no sum below wraps or goes beyond them.
  const uint64_t limit = kMaxModelAddress / 4;
  const uint64_t token_bytes = (extents.rows + extents.cols) * kFloatBytes;
  if (weights.span_bytes() > limit || extents.rows > limit || extents.cols > limit ||
      token_bytes * max_tokens > limit) {
    return error("cache simulation: expected at most {} GiB, found {} x {} weights and {} tokens",
                 limit >> 30, extents.rows, extents.cols, max_tokens);
  }
  Operands at;
  at.weights = weights;
  at.max_tokens = max_tokens;
  at.weights_at = space.place(weights.span_bytes());
  at.x_at = space.place(extents.cols * kFloatBytes * max_tokens);
  at.y_at = space.place(extents.rows * kFloatBytes * max_tokens);
  // Packed x and a panel of gemm(), or lists and partial sums of sparse().
  at.scratch_at =
      space.place(kGemmScratchBytes + (extents.rows + kLanes * 2) * kFloatBytes * kNumPartitions +
                  extents.cols * 2 * kFloatBytes);
  return at;
}

double StreamReport::hit_percent() const noexcept {
  return levels.empty() ? 100.0
                        : percent(levels[0].accesses - levels.back().misses(), levels[0].accesses);
}

double StreamReport::used_percent() const noexcept {
  return percent(weight_bytes_used, weight_bytes_touched);
}

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

StreamReport replay_mix6(CacheModel& cache, AddressSpace& space, uint32_t num_emb,
                         uint32_t num_tokens, ActivationLayout layout) {
  const std::vector<CacheCount> before(cache.counts().begin(), cache.counts().end());
  const uint64_t row_bytes = uint64_t{num_emb} * kFloatBytes;
  MixAt at{};
  at.x = space.place(row_bytes * num_tokens);
  at.shift = space.place(row_bytes);
  at.ln_weight = space.place(row_bytes);
  at.ln_bias = space.place(row_bytes);
  const uint64_t mix_at = space.place(row_bytes * kNumMixes);
  const uint64_t tensor_bytes = row_bytes * num_tokens;
  const bool packed = layout == ActivationLayout::kPacked;
  const uint64_t packed_at = packed ? space.place(tensor_bytes * kNumMixes) : 0;
  for (uint32_t c = 0; c < kNumMixes; ++c) {
    at.mix[c] = mix_at + c * row_bytes;
    at.out[c] = packed ? packed_at + c * tensor_bytes : space.place(tensor_bytes);
  }
  for (uint32_t t = 0; t < num_tokens; ++t) {
    mix_token(cache, at, num_emb);
    at.x += row_bytes;
    for (uint64_t& out : at.out) out += row_bytes;
  }
  StreamReport report;
  report.levels = difference(cache.counts(), before);
  report.memory_bytes = report.levels.back().misses() * cache.config().line_bytes;
  return report;
}

}  // namespace skein
