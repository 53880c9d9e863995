#include "base/work_shares.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/thread_pool.h"

namespace skein {
namespace {

// All pieces of one deal, taken by one thread after the other.
std::vector<Range> pieces_of(WorkShares& shares, uint32_t thread) {
  std::vector<Range> pieces;
  for (Range piece = shares.next(thread); !piece.empty(); piece = shares.next(thread)) {
    pieces.push_back(piece);
  }
  return pieces;
}

TEST(WorkSharesTest, OwnPartComesFirstAndHalves) {
  WorkShares shares(2);
  shares.deal(200, 10, 2);
  EXPECT_EQ(shares.next(1), (Range{100, 150}));
  EXPECT_EQ(shares.next(0), (Range{0, 50}));
  EXPECT_EQ(shares.next(1), (Range{150, 175}));
  EXPECT_EQ(shares.next(1), (Range{175, 187}));
  EXPECT_EQ(shares.next(1), (Range{187, 197}));
  EXPECT_EQ(shares.next(1), (Range{197, 200}));
  EXPECT_EQ(shares.next(1), (Range{50, 75}));  // of the other thread
  EXPECT_EQ(shares.next(0), (Range{75, 87}));
}

TEST(WorkSharesTest, AGrainOfAllGivesEveryThreadOnePiece) {
  WorkShares shares(3);
  shares.deal(10, 11, 3);
  for (uint32_t thread : {2u, 0u, 1u}) EXPECT_EQ(shares.next(thread), share_of(10, 1, thread, 3));
  for (uint32_t thread : {0u, 1u, 2u}) EXPECT_TRUE(shares.next(thread).empty());
}

TEST(WorkSharesTest, PiecesCoverEverythingOnceWhoeverTakesThem) {
  WorkShares shares(5);
  for (uint64_t total : {0u, 1u, 4u, 5u, 63u, 1000u, 99991u}) {
    for (uint64_t grain : {1u, 7u, 128u}) {
      for (uint32_t num_threads : {1u, 2u, 5u}) {
        shares.deal(total, grain, num_threads);
        std::vector<int> times(total);
        const std::vector<Range> pieces = pieces_of(shares, num_threads - 1);
        for (const Range& piece : pieces) {
          for (uint64_t i = piece.begin; i < piece.end; ++i) ++times[i];
        }
        EXPECT_EQ(std::count(times.begin(), times.end(), 1), static_cast<int64_t>(total))
            << total << ' ' << grain << ' ' << num_threads;
        for (uint32_t thread = 0; thread < num_threads; ++thread) {
          EXPECT_TRUE(shares.next(thread).empty());
        }
      }
    }
  }
}

// Many deals in a row, so that what an earlier one took must not count in the next.
TEST(WorkSharesTest, ThreadsTakeEveryItemOnce) {
  constexpr uint32_t kThreads = 3;
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(kThreads);
  ASSERT_TRUE(pool.has_value());
  WorkShares shares(kThreads);
  for (uint32_t deal = 0; deal < 2000; ++deal) {
    const uint64_t total = deal % 97;
    std::vector<std::atomic<int>> times(total);
    shares.deal(total, 1 + deal % 5, kThreads);
    (*pool)->run([&](uint32_t thread) {
      for (Range piece = shares.next(thread); !piece.empty(); piece = shares.next(thread)) {
        for (uint64_t i = piece.begin; i < piece.end; ++i) ++times[i];
      }
    });
    for (const std::atomic<int>& count : times) ASSERT_EQ(count, 1);
  }
}

TEST(WorkSharesTest, OthersTakeWhatASlowThreadHasNotBegun) {
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(2);
  ASSERT_TRUE(pool.has_value());
  WorkShares shares(2);
  shares.deal(1000, 10, 2);
  std::atomic<bool> has_begun{false};
  std::atomic<bool> is_rest_done{false};
  uint64_t num_taken = 0;
  (*pool)->run([&](uint32_t thread) {
    if (thread == 0) {
      EXPECT_EQ(shares.next(0), (Range{0, 250}));
      has_begun = true;
      while (!is_rest_done) std::this_thread::yield();
      EXPECT_TRUE(shares.next(0).empty());
    } else {
      while (!has_begun) std::this_thread::yield();
      for (Range piece = shares.next(1); !piece.empty(); piece = shares.next(1)) {
        num_taken += piece.length();
      }
      is_rest_done = true;
    }
  });
  EXPECT_EQ(num_taken, 750u);
}

}  // namespace
}  // namespace skein
