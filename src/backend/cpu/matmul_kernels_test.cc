// The kernel table, the target's selection, gather and the bandwidth probe.
#include "backend/cpu/matmul_kernels.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstdlib>

#include "backend/cpu/gather.h"
#include "backend/cpu/matmul_testing.h"
#include "backend/cpu/read_bandwidth.h"

namespace skein {
namespace {

using ::testing::HasSubstr;

TEST(MatmulKernels, EveryDtypeHasItsOps) {
  for (const DType dtype : kDTypes) {
    for (const char* layout :
         {"row_major@128B", "interleave(16,64,1)", "col_major", "interleave(16,64,4)",
          "interleave(3,5)", "tile(16,32)", "morton(8)"}) {
      for (const MatrixOp op : {MatrixOp::kGather, MatrixOp::kDense, MatrixOp::kSparse}) {
        EXPECT_TRUE(check_kernel("cpu", cpu_kernels(), op, dtype, parse_layout(layout).value()));
      }
    }
    // The special kernels come first.
    EXPECT_EQ(
        find_kernel(cpu_kernels(), MatrixOp::kDense, dtype, Layout::interleave(16, 64, 1))->layouts,
        "interleave(16,*,1)");
    EXPECT_EQ(find_kernel(cpu_kernels(), MatrixOp::kSparse, dtype, Layout::col_major())->layouts,
              "col_major");
  }
}

TEST(MatmulKernels, QuantizedOnesMultiplyInEveryLayout) {
  for (const DType dtype : kQuantDTypes) {
    for (const char* layout :
         {"row_major", "row_major@128B", "interleave(16,64,1)", "col_major", "interleave(16,128,4)",
          "interleave(16,64,8)", "interleave(3,5)", "tile(16,32)", "morton(8)"}) {
      for (const MatrixOp op : {MatrixOp::kDense, MatrixOp::kSparse}) {
        EXPECT_TRUE(check_kernel("cpu", cpu_kernels(), op, dtype, parse_layout(layout).value()));
      }
    }
    EXPECT_EQ(find_kernel(cpu_kernels(), MatrixOp::kSparse, dtype, Layout::col_major())->name,
              fmt::format("sparse_{}_col_major", to_string(dtype)));
    EXPECT_EQ(find_kernel(cpu_kernels(), MatrixOp::kGather, dtype, Layout::row_major()) != nullptr,
              is_ggml_codec(dtype));
  }
}

TEST(CpuTarget, UnknownNamesAreErrorsThatListTheKnown) {
  const Status status = select_cpu_target("pentium");
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("'pentium'"));
  for (const std::string_view name : supported_cpu_targets()) {
    EXPECT_THAT(status.error().message, HasSubstr(std::string(name)));
  }
}

TEST(CpuTarget, TheEnvironmentForcesOne) {
  for (const std::string_view name : supported_cpu_targets()) {
    setenv("SKEIN_CPU", std::string(name).c_str(), 1);
    ASSERT_TRUE(select_default_cpu_target());
    EXPECT_EQ(cpu_target_name(), name);
  }
  setenv("SKEIN_CPU", "pentium", 1);
  const Status status = select_default_cpu_target();
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("SKEIN_CPU"));
  setenv("SKEIN_CPU", "", 1);
  ASSERT_TRUE(select_default_cpu_target());
  EXPECT_EQ(cpu_target_name(), supported_cpu_targets().back());
  unsetenv("SKEIN_CPU");
}

class GatherTest : public CpuTargetTest {};

TEST_P(GatherTest, RowsAreExact) {
  std::mt19937 rng(kSeed);
  for (const DType dtype : kDTypes) {
    for (const char* layout : {"row_major", "row_major@64B", "col_major", "interleave(16,8,1)",
                               "morton(4)", "tile(4,8)"}) {
      for (const uint64_t cols : {1u, 15u, 64u, 101u}) {
        const TestWeights weights = random_weights(rng, dtype, layout, 21, cols, 3);
        TestRows y(21, cols, kCanary);
        for (uint64_t row = 0; row < 21; ++row) {
          gather_row(weights.tensor, row, y.row(row));
          for (uint64_t col = 0; col < cols; ++col) {
            ASSERT_EQ(static_cast<double>(y.row(row)[col]), weights.at(row, col)) << layout;
          }
        }
        EXPECT_TRUE(y.poison_is_intact());
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, GatherTest, ::testing::ValuesIn(kAllCpuTargets),
                         [](const auto& param) { return param.param; });

TEST(ReadBandwidth, IsPlausible) {
  const auto pool = make_pool(2);
  const double bytes_per_second = measure_read_bandwidth(*pool).value();
  EXPECT_GT(bytes_per_second, 1e8);
  EXPECT_LT(bytes_per_second, 1e13);
}

}  // namespace
}  // namespace skein
