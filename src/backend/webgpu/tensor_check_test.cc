// The shaders for tensor cores on a device that has none: their products are put in as loops over
// plain memory, so that places, tails and exponents are tested wherever the other tests run. That a
// device with tensor cores multiplies right, the backend finds out by itself (tensor_check.h).
#include <gtest/gtest.h>

#include <regex>

#include "backend/webgpu/tensor_check.h"
#include "backend/webgpu/test_gpu.h"

namespace skein::webgpu {
namespace {

// A tile of inputs is where it lies; a tile of sums is spread over the 32 threads of a subgroup,
// eight each.
constexpr const char* kLoops = R"(
struct Place { buffer: u32, at: u32, row_stride: u32, col_stride: u32 }
struct Sums { values: array<f32, 8> }
fn multiply_add(a: Place, b: Place, c: Sums) -> Sums {
  var sums = c;
  for (var i = 0u; i < 8u; i = i + 1u) {
    let row = (subgroup.y * 8u + i) / 16u;
    let col = (subgroup.y * 8u + i) % 16u;
    var sum = sums.values[i];
    for (var k = 0u; k < 16u; k = k + 1u) {
      sum = sum + element(a, row, k) * element(b, k, col);
    }
    sums.values[i] = sum;
  }
  return sums;
}
fn store_sums(tile: Sums, at: u32, stride: u32) {
  var sums = tile;
  for (var i = 0u; i < 8u; i = i + 1u) {
    let place = subgroup.y * 8u + i;
    sum_tile[at + place / 16u * stride + place % 16u] = sums.values[i];
  }
}
)";

void use_loops(Kernel& kernel) {
  if (kernel.enables.empty()) return;
  kernel.enables = {"f16"};
  std::string text = kernel.shader.text();
  const auto replace = [&](const char* pattern, const char* by) {
    text = std::regex_replace(text, std::regex(pattern), by);
  };
  // "T" in the library's names: rows side by side.
  replace(R"(coopLoadT<[^(]*\(&b(\w+)\[(\w+)\], (\w+)\))", "Place($1u, $2, $3, 1u)");
  replace(R"(coopLoad<[^(]*\(&b(\w+)\[(\w+)\], (\w+)\))", "Place($1u, $2, 1u, $3)");
  replace(R"(coopStoreT\((\w+), &sum_tile\[(\w+)\], (\w+)\))", "store_sums($1, $2, $3)");
  replace("coopMultiplyAdd", "multiply_add");
  replace(R"(coop_mat16x16<f32, C>\(\))", "Sums()");
  replace(R"(vec3<u32>\(subgroup_id, subgroup_lane, num_subgroups\))",
          "vec3<u32>(lane / 32u, lane % 32u, 8u)");
  EXPECT_EQ(text.find("coop"), std::string::npos);
  std::string element =
      "fn element(place: Place, row: u32, col: u32) -> f32 {\n"
      "  let at = place.at + row * place.row_stride + col * place.col_stride;\n";
  for (size_t i = 0; i < kernel.bindings.size(); ++i) {
    if (kernel.bindings.list()[i].type != "array<f16>") continue;
    element += fmt::format("  if (place.buffer == {0}u) {{ return f32(b{0}[at]); }}\n", i);
  }
  ShaderText shader;
  shader.add_text(text + kLoops + element + "  return 0.0;\n}\n", "loops");
  kernel.shader = std::move(shader);
}

TEST(TensorCheckTest, LoopsInPlaceOfTensorCoresAgree) {
  const auto gpu = Gpu::create({});
  SKEIN_NEED_GPU(gpu);
  GpuLimits limits = (*gpu)->limits();
  if (!limits.has_subgroups) GTEST_SKIP() << "no subgroups";
  limits.has_tensor_cores = true;
  Commands commands(*gpu);
  Kernels kernels(*gpu, commands);
  DeviceMemory memory(*gpu, commands, [&](uint64_t id) { kernels.release(id); });
  const Status status = check_tensor_cores(memory, kernels, limits, use_loops);
  EXPECT_TRUE(status) << status.error().message;
}

// Without loops in their place the device refuses the shaders: one error, and it goes on.
TEST(TensorCheckTest, ADeviceWithoutThemSaysSo) {
  const auto gpu = Gpu::create({});
  SKEIN_NEED_GPU(gpu);
  GpuLimits limits = (*gpu)->limits();
  if (limits.has_tensor_cores || !limits.has_subgroups) GTEST_SKIP() << "another device";
  limits.has_tensor_cores = true;
  Commands commands(*gpu);
  Kernels kernels(*gpu, commands);
  DeviceMemory memory(*gpu, commands, [&](uint64_t id) { kernels.release(id); });
  EXPECT_FALSE(check_tensor_cores(memory, kernels, limits));
  EXPECT_TRUE((*gpu)->take_error());
  EXPECT_FALSE((*gpu)->is_lost());
}

}  // namespace
}  // namespace skein::webgpu
