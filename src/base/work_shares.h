// WorkShares: shares [0, total) out among the threads of a pool. Each takes its own part in pieces
// that halve, then what the others have left, so that nobody waits long for one that is slower:
// because its rows cost more, or because another program has its core.
//
// Laws: the pieces of one deal() cover [0, total) once, whoever takes them; each begins where the
// thread's part or an earlier piece of it ended. Which thread gets what differs from run to run, so
// results must not depend on it. deal() touches only its own cache line, whatever the threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include "base/check.h"
#include "base/thread_pool.h"

namespace skein {

class WorkShares {
 public:
  explicit WorkShares(uint32_t max_threads)
      : max_threads_(max_threads), taken_(std::make_unique<Taken[]>(max_threads)) {}

  // New work, outside run(). total < 2^40; a piece is at least `grain` long, but for the last one
  // of a part.
  void deal(uint64_t total, uint64_t grain, uint32_t num_threads) noexcept {
    DCHECK(total <= kPlaceMask && grain > 0 && num_threads <= max_threads_);
    total_ = total;
    grain_ = grain;
    num_threads_ = num_threads;
    if (++deal_ < kMaxDeals) return;
    deal_ = 1;
    for (uint32_t thread = 0; thread < max_threads_; ++thread) taken_[thread].word = 0;
  }

  // In run(): the thread's next piece, empty when all are taken.
  Range next(uint32_t thread) noexcept {
    for (uint32_t i = 0; i < num_threads_; ++i) {
      const uint32_t owner = thread + i < num_threads_ ? thread + i : thread + i - num_threads_;
      if (const Range piece = take(owner); !piece.empty()) return piece;
    }
    return {};
  }

 private:
  static constexpr uint32_t kPlaceBits = 40;
  static constexpr uint64_t kPlaceMask = (uint64_t{1} << kPlaceBits) - 1;
  static constexpr uint64_t kMaxDeals = uint64_t{1} << (64 - kPlaceBits);

  // Two cache lines, since prefetchers fetch lines in pairs.
  struct alignas(128) Taken {
    // The deal it belongs to, above the place up to which the part is taken; of an earlier deal:
    // nothing is.
    std::atomic<uint64_t> word{0};
  };

  Range take(uint32_t owner) noexcept {
    const Range part = share_of(total_, 1, owner, num_threads_);
    std::atomic<uint64_t>& taken = taken_[owner].word;
    uint64_t word = taken.load(std::memory_order_relaxed);
    while (true) {
      const uint64_t begin = word >> kPlaceBits == deal_ ? word & kPlaceMask : part.begin;
      if (begin >= part.end) return {};
      const uint64_t left = part.end - begin;
      const uint64_t end = begin + std::min(left, std::max(grain_, left / 2));
      // Relaxed: what the work reads and writes is ordered by the fork and the join of run().
      if (taken.compare_exchange_weak(word, deal_ << kPlaceBits | end, std::memory_order_relaxed)) {
        return {begin, end};
      }
    }
  }

  uint32_t max_threads_;
  uint32_t num_threads_ = 0;
  uint64_t total_ = 0;
  uint64_t grain_ = 1;
  uint64_t deal_ = 0;
  std::unique_ptr<Taken[]> taken_;
};

}  // namespace skein
