// dense() of quantized weights in the layouts that have no kernel for them alone, against the
// oracle of dense_quant_test.cc, and that every quantized kernel is tested there or here.
#include <algorithm>

#include "backend/cpu/dense_testing.h"
#include "backend/cpu/matmul_kernels.h"

namespace skein {
namespace {

class DenseQuantLayoutsTest : public DenseTest {};

const std::vector<std::string> kStrided = {"row_major", "row_major@64B", "col_major",
                                           "col_major@128B"};

const std::vector<std::string> kBlocked = {
    // Rows in lanes: each K that fits one, an R of no multiple of it, gaps between blocks.
    "interleave(16,64,1)", "interleave(4,6,1)", "interleave(8,64,2)@128B", "interleave(8,64,4)",
    "interleave(5,10,1)", "interleave(8,16,8)",
    // Runs of a row: K as long as a block, longer, shorter, of no part of one; R above a slice.
    "interleave(4,64)", "interleave(3,5)", "interleave(8,24,12)", "interleave(80,4,2)",
    "tile(16,32)", "tile(100,16)", "tile(7,200)", "tile(1,16)", "tile(16,1)",
    // T below, at and above a vector, above a slice.
    "morton(1)", "morton(5)@64B", "morton(8)", "morton(32)", "morton(100)"};

// Runs of whole vectors: shorter and longer than a step and than the prefetch is ahead, as long as
// no part of one, several in a block, gaps between them; R below, at and above a slice's and no
// multiple of it.
const std::vector<std::string> kRuns = {"interleave(4,64)",    "interleave(3,32)@256B",
                                        "interleave(8,96,32)", "interleave(16,256,64)",
                                        "tile(7,96)",          "tile(1,32)",
                                        "tile(100,64)@128B",   "tile(5,2048)",
                                        "morton(96)@4096B",    "morton(64)"};

TEST(DenseQuantLayouts, EachKernelIsTested) {
  std::vector<std::string> layouts = {"interleave(16,128,4)", "interleave(16,64,8)",
                                      "interleave(4,64,4)", "interleave(8,64,8)"};
  layouts.insert(layouts.end(), kStrided.begin(), kStrided.end());
  layouts.insert(layouts.end(), kBlocked.begin(), kBlocked.end());
  layouts.insert(layouts.end(), kRuns.begin(), kRuns.end());
  for (const KernelInfo& kernel : cpu_kernels()) {
    if (kernel.op != MatrixOp::kDense || !is_quantized(kernel.dtype)) continue;
    EXPECT_TRUE(std::any_of(
        layouts.begin(), layouts.end(),
        [&](const std::string& layout) { return kernel.accepts(parse_layout(layout).value()); }))
        << kernel.name << " " << kernel.layouts;
  }
}

// Blocks that end with the matrix, rows or cols that begin in the middle of a byte, one more row
// than a group of them.
TEST_P(DenseQuantLayoutsTest, Strided) {
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {{1, 1},   {1, 65},   {17, 7},
                                                       {33, 64}, {19, 259}, {146, 128}};
  for (const DType dtype : kQuantDTypes) {
    for (const std::string& layout : kStrided) {
      for (const auto& [rows, cols] : kShapes) {
        for (const uint32_t num_tokens : {1u, 2u, 6u, 14u}) {
          check(dtype, layout, rows, cols, num_tokens);
        }
      }
      check(dtype, layout, 33, 1031, 37);
      check(dtype, layout, 35, 150, 3, 3);
      check(dtype, layout, 35, 150, 34, 3);
    }
  }
}

// More cols than one prepared x holds, for one token and for four.
TEST_P(DenseQuantLayoutsTest, LongRows) {
  for (const DType dtype : kQuantDTypes) {
    check(dtype, "row_major", 3, 16384 + 70, 1);
    check(dtype, "row_major", 3, 4096 + 70, 5);
  }
}

// The others run the code of these two with another table or other scales.
TEST_P(DenseQuantLayoutsTest, Blocked) {
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {{1, 65}, {17, 7}, {39, 259}};
  for (const DType dtype : {DType::kInt8, DType::kNF4}) {
    for (const std::string& layout : kBlocked) {
      for (const auto& [rows, cols] : kShapes) {
        for (const uint32_t num_tokens : {1u, 3u, 10u}) {
          check(dtype, layout, rows, cols, num_tokens);
        }
      }
      check(dtype, layout, 35, 150, 2, 3);
    }
  }
  for (const DType dtype : {DType::kSF4, DType::kQ8_0, DType::kQ4_0, DType::kQ4K}) {
    for (const std::string& layout : kBlocked) {
      for (const uint32_t num_tokens : {1u, 10u}) check(dtype, layout, 19, 331, num_tokens);
    }
  }
}

TEST_P(DenseQuantLayoutsTest, Runs) {
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {{1, 1}, {17, 31}, {39, 331}};
  for (const DType dtype : kQuantDTypes) {
    for (const std::string& layout : kRuns) {
      for (const auto& [rows, cols] : kShapes) {
        for (const uint32_t num_tokens : {1u, 3u, 6u}) check(dtype, layout, rows, cols, num_tokens);
      }
      check(dtype, layout, 35, 150, 2, 3);
      check(dtype, layout, 35, 150, 14);
    }
  }
}

// More cols than one prepared x holds; a run that two of them share.
TEST_P(DenseQuantLayoutsTest, RunsOfLongRows) {
  for (const DType dtype : kQuantDTypes) {
    for (const char* layout : {"tile(4,96)", "morton(32)"}) {
      check(dtype, layout, 3, 16384 + 70, 1);
      check(dtype, layout, 3, 8192 + 70, 5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, DenseQuantLayoutsTest, ::testing::ValuesIn(kAllCpuTargets),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace skein
