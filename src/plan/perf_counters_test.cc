#include "plan/perf_counters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace skein {
namespace {

constexpr uint64_t kNumSteps = 1000000;

uint64_t run_steps() {
  volatile uint64_t sum = 0;
  for (uint64_t i = 0; i < kNumSteps; ++i) sum = sum + i;
  return sum;
}

// What the machine has decides which of the two ways is tested; it prints which.
TEST(PerfCounters, CountsPlausiblyOrSaysWhyNotInOneLine) {
  Result<PerfCounters> counters = PerfCounters::open();
  if (!counters) {
    const std::string& message = counters.error().message;
    EXPECT_THAT(message, testing::StartsWith("hardware counters: "));
    EXPECT_EQ(message.find('\n'), std::string::npos);
    EXPECT_GT(message.size(), 25u);
    std::printf("no counters here: %s\n", message.c_str());
    return;
  }
  ASSERT_TRUE(counters->start().has_value());
  EXPECT_EQ(run_steps(), kNumSteps * (kNumSteps - 1) / 2);
  const Result<PerfCounts> counts = counters->stop();
  ASSERT_TRUE(counts.has_value()) << counts.error().message;
  EXPECT_GE(counts->share_running, 0.0);
  EXPECT_LE(counts->share_running, 1.0);
  if (const auto instructions = (*counts)[PerfEvent::kInstructions]) {
    // A load, an addition, a store and a branch a step, whatever the compiler.
    EXPECT_GE(*instructions, 2 * kNumSteps);
    EXPECT_LE(*instructions, 100 * kNumSteps);
  }
  if (const auto reads = (*counts)[PerfEvent::kL1dReads]) {
    EXPECT_GE(*reads, kNumSteps / 2);
    EXPECT_LE((*counts)[PerfEvent::kL1dReadMisses].value_or(0), *reads);
  }
  // Starting again counts from 0.
  ASSERT_TRUE(counters->start().has_value());
  const Result<PerfCounts> nothing = counters->stop();
  ASSERT_TRUE(nothing.has_value());
  if (const auto instructions = (*nothing)[PerfEvent::kInstructions]) {
    EXPECT_LT(*instructions, kNumSteps);
  }
}

TEST(PerfCounters, HitPercentNeedsBothCounts) {
  PerfCounts counts;
  EXPECT_FALSE(counts.hit_percent().has_value());
  counts.values[static_cast<size_t>(PerfEvent::kL1dReads)] = 200;
  EXPECT_FALSE(counts.hit_percent().has_value());
  counts.values[static_cast<size_t>(PerfEvent::kLlcMisses)] = 50;
  EXPECT_DOUBLE_EQ(counts.hit_percent().value(), 75.0);
}

}  // namespace
}  // namespace skein
