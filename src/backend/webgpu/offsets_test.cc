// The emitted index functions give the mappings' offsets at every coordinate, evaluated on the
// device. One shader a layout, with a function for every shape.
#include <gtest/gtest.h>

#include <vector>

#include "backend/webgpu/device_memory.h"
#include "backend/webgpu/kernels.h"
#include "backend/webgpu/test_gpu.h"
#include "base/bits.h"
#include "layout/test_cases.h"
#include "layout/wgsl.h"

namespace skein::webgpu {
namespace {

struct Shapes {
  ShaderText shader;
  std::vector<uint32_t> expected;
};

// Functions for all shapes and a main that writes every offset, shape after shape.
Shapes shapes_of(const Layout& layout, uint32_t element_bits) {
  Shapes shapes;
  std::string main =
      "@compute @workgroup_size(64)\n"
      "fn main(@builtin(global_invocation_id) id: vec3<u32>) {\n  let i = id.x;\n";
  uint32_t shape = 0;
  for (const Extents extents : kTestExtents) {
    const AnyMapping mapping = *make_mapping(layout, extents, element_bits);
    const std::string name = fmt::format("offset_{}", shape++);
    shapes.shader.add_text(*emit_wgsl(mapping, name), name);
    const size_t begin = shapes.expected.size();
    for (uint64_t row = 0; row < extents.rows; ++row) {
      for (uint64_t col = 0; col < extents.cols; ++col) {
        shapes.expected.push_back(static_cast<uint32_t>(mapping(row, col)));
      }
    }
    main += fmt::format(
        "  if (i >= {0}u && i < {1}u) {{ b0[i] = {2}((i - {0}u) / {3}u, (i - {0}u) % {3}u); }}\n",
        begin, shapes.expected.size(), name, extents.cols);
  }
  shapes.shader.add_text(main + "}\n", "main");
  return shapes;
}

TEST(OffsetsTest, DeviceAgreesWithCppAtEveryCoordinate) {
  const auto gpu = Gpu::create({});
  SKEIN_NEED_GPU(gpu);
  Commands commands(*gpu);
  Kernels kernels(*gpu, commands);
  DeviceMemory memory(*gpu, commands, [&](uint64_t id) { kernels.release(id); });
  uint64_t key = 0;
  for (const std::string_view text : kTestLayouts) {
    // The alignment is what the bits of an element change.
    for (const uint32_t bits : kTestElementBits) {
      if (bits != 16 && text.find('@') == std::string_view::npos) continue;
      Shapes shapes = shapes_of(*parse_layout(text), bits);
      const uint64_t num_bytes = shapes.expected.size() * sizeof(uint32_t);
      const std::shared_ptr<GpuBuffer> out = memory.allocate(num_bytes).value();
      const Status status = kernels.run(StepKey(key++), [&]() -> Result<std::vector<Kernel>> {
        Kernel kernel{std::string(text), std::move(shapes.shader), Bindings((*gpu)->limits()), 1,
                      1};
        EXPECT_TRUE(kernel.bindings.range(*out, 0, num_bytes, Access::kWrite, "array<u32>"));
        kernel.x = static_cast<uint32_t>(ceil_div<size_t>(shapes.expected.size(), 64));
        std::vector<Kernel> all;
        all.push_back(std::move(kernel));
        return all;
      });
      ASSERT_TRUE(status) << status.error().message;
      std::vector<uint32_t> found(shapes.expected.size());
      const Status read = memory.download(*out, 0, std::as_writable_bytes(std::span(found)));
      ASSERT_TRUE(read) << read.error().message;
      EXPECT_EQ(found, shapes.expected) << text << ", " << bits << " bits";
    }
  }
}

// A shader that does not compile is one line with the file and line that it came from, and the
// device goes on.
TEST(OffsetsTest, ABadShaderIsOneLine) {
  const auto gpu = Gpu::create({});
  SKEIN_NEED_GPU(gpu);
  Commands commands(*gpu);
  Kernels kernels(*gpu, commands);
  const Status status = kernels.run(StepKey(1), [&]() -> Result<std::vector<Kernel>> {
    Kernel kernel{"bad", {}, Bindings((*gpu)->limits()), 1, 1};
    kernel.shader.add_text("@compute @workgroup_size(1)\nfn main() {\n  let x = nothing;\n}\n",
                           "bad.wgsl");
    std::vector<Kernel> all;
    all.push_back(std::move(kernel));
    return all;
  });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message.rfind("shader 'bad', bad.wgsl:3: ", 0), 0u)
      << status.error().message;
  EXPECT_TRUE((*gpu)->take_error());
  EXPECT_FALSE((*gpu)->is_lost());
}

TEST(OffsetsTest, AnAdapterThatIsNotThereIsAnError) {
  const auto adapters = list_adapters();
  SKEIN_NEED_GPU(adapters);
  const auto gpu = Gpu::create(99);
  ASSERT_FALSE(gpu);
  EXPECT_NE(gpu.error().message.find("found"), std::string::npos);
}

}  // namespace
}  // namespace skein::webgpu
