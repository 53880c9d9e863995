// Replay: one op's walk through a CacheModel, and what the walks of address_matvec.cc,
// address_matmul.cc and address_sparse.cc share. Internal to plan/; address_stream.h is the way in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bits.h"
#include "base/check.h"
#include "base/thread_pool.h"
#include "plan/address_stream.h"

namespace skein {

inline constexpr uint64_t kLanes = 16;  // AVX-512
inline constexpr uint64_t kFloatBytes = sizeof(float);
inline constexpr uint64_t kVectorBytes = kLanes * kFloatBytes;
inline constexpr uint64_t kPieceRows = 32;  // dense_row_major.cc's panels
inline constexpr uint64_t kGemmScratchBytes = uint64_t{4} << 20;
inline constexpr uint32_t kNumPartitions = 8;  // sparse.cc

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

// What was counted between two moments of one cache.
std::vector<CacheCount> difference(std::span<const CacheCount> after,
                                   std::span<const CacheCount> before);

// The rows that belong together in a layout: a row group, a row of tiles, or a panel of rows.
uint64_t group_rows(const Layout& layout);

// The rows of a piece: a whole number of groups.
inline uint64_t piece_rows(const Layout& layout) {
  return round_up(kPieceRows, group_rows(layout));
}

// Calls f(rows) for the sampled pieces.
template <class F>
void for_each_row_piece(Replay& replay, uint64_t piece, F&& f) {
  for (uint64_t row = 0; row < replay.rows(); row += piece) {
    if (replay.take_piece()) f(Range{row, std::min(row + piece, replay.rows())});
  }
}

// add_cols() of sparse-inl.h: up to four cols at once, y (at `y_at`) read and written for them.
void add_cols(Replay& replay, std::span<const uint32_t> cols, uint64_t y_at, bool add);

}  // namespace skein
