// dense() of quantized weights against a double-precision oracle that decodes them with the scalar
// codec: shapes with short blocks, constant blocks and such with subnormal scales, NaN in the
// scales of padding.
#include <algorithm>

#include "backend/cpu/dense_testing.h"
#include "backend/cpu/matmul_kernels.h"

namespace skein {
namespace {

class DenseQuantTest : public DenseTest {};

// Of the interleaved ones with special kernels: blocks as long as those of scales, longer, shorter,
// of no part of one, with gaps between them. Then the others.
std::vector<std::string> layouts_of(DType dtype) {
  std::vector<std::string> layouts =
      dtype == DType::kInt8
          ? std::vector<std::string>{"interleave(16,128,4)", "interleave(16,256,4)",
                                     "interleave(16,32,4)",  "interleave(16,4,4)",
                                     "interleave(16,96,4)",  "interleave(16,132,4)@256B"}
          : std::vector<std::string>{"interleave(16,64,8)", "interleave(16,192,8)",
                                     "interleave(16,8,8)", "interleave(16,40,8)",
                                     "interleave(16,72,8)@256B"};
  for (const char* layout :
       {"row_major", "row_major@64B", "col_major", "col_major@128B", "interleave(3,5)",
        "interleave(4,64)", "interleave(8,64,4)", "tile(16,32)", "morton(8)", "morton(5)@64B"}) {
    if (find_kernel(cpu_kernels(), MatrixOp::kDense, dtype, parse_layout(layout).value())) {
      layouts.push_back(layout);
    }
  }
  return layouts;
}

TEST(DenseQuantKernels, EachIsTested) {
  for (const KernelInfo& kernel : cpu_kernels()) {
    if (kernel.op != MatrixOp::kDense || !is_quantized(kernel.dtype)) continue;
    const std::vector<std::string> layouts = layouts_of(kernel.dtype);
    EXPECT_TRUE(std::any_of(
        layouts.begin(), layouts.end(),
        [&](const std::string& layout) { return kernel.accepts(parse_layout(layout).value()); }))
        << kernel.name << " " << kernel.layouts;
  }
}

TEST_P(DenseQuantTest, AnyShape) {
  constexpr std::pair<uint64_t, uint64_t> kShapes[] = {{1, 1},   {1, 65},   {17, 7},  {16, 128},
                                                       {33, 64}, {19, 259}, {47, 131}};
  for (const DType dtype : kQuantDTypes) {
    for (const std::string& layout : layouts_of(dtype)) {
      for (const auto& [rows, cols] : kShapes) {
        for (const uint32_t num_tokens : {1u, 2u, 11u, 34u}) {
          check(dtype, layout, rows, cols, num_tokens);
        }
      }
    }
  }
}

TEST_P(DenseQuantTest, AnyNumberOfTokens) {
  for (const DType dtype : kQuantDTypes) {
    for (uint32_t num_tokens = 1; num_tokens <= 40; ++num_tokens) {
      check(dtype, layouts_of(dtype)[0], 37, 200, num_tokens);
    }
  }
}

TEST_P(DenseQuantTest, SeveralPassesAndAnyAlignment) {
  for (const DType dtype : kQuantDTypes) {
    for (const std::string& layout : layouts_of(dtype)) {
      check(dtype, layout, 33, 1031, 37);
      check(dtype, layout, 35, 150, 3, 3);
      check(dtype, layout, 35, 150, 34, 3);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, DenseQuantTest, ::testing::ValuesIn(kAllCpuTargets),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace skein
