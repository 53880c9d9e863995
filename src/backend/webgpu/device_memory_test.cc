// Buffers that go leave no memory behind, also while the library still holds commands that name
// them. Seen on a software device, whose memory is this process's.
#include "backend/webgpu/device_memory.h"

#include <gtest/gtest.h>
#include <hwy/base.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>

#include "backend/webgpu/read.h"
#include "backend/webgpu/test_gpu.h"
#include "backend/webgpu/webgpu_backend.h"

namespace skein {
namespace {

// Of this process; 0 where the system does not tell.
uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t all = 0, resident = 0;
  file >> all >> resident;
  return file ? resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

TEST(DeviceMemory, IsGivenBackAfterRepeatedCommands) {
  auto gpu = webgpu::Gpu::create(std::nullopt);
  SKEIN_NEED_GPU(gpu);
  if (!(*gpu)->limits().is_software) GTEST_SKIP() << "a GPU's memory is not this process's";
  if (HWY_IS_ASAN) GTEST_SKIP() << "the address sanitizer keeps what is freed";
  if (resident_bytes() == 0) GTEST_SKIP() << "no /proc/self/statm";
  const uint64_t each = webgpu::read_bytes((*gpu)->limits());
  const std::unique_ptr<Backend> backend = make_webgpu_backend_on(*std::move(gpu));
  // Each allocates so much and reads it again and again, so that commands are encoded ahead.
  ASSERT_TRUE(backend->measure_read_bandwidth());
  const uint64_t before = resident_bytes();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(backend->measure_read_bandwidth());
  EXPECT_LT(resident_bytes(), before + each + each / 2) << "of three times " << each;
}

}  // namespace
}  // namespace skein
