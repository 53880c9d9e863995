// Which backend "auto" is: a folder stands for the files of devices, and the library is one that is
// not there, so that no test needs a GPU.
#include "engine/backends.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/temp_folder.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class BackendsTest : public ::testing::Test {
 protected:
  // The library is looked for once a process.
  void SetUp() override { setenv("SKEIN_WGPU_LIBRARY", "/nonexistent", 1); }

  // Of a build without the backend none of these can tell anything.
  static bool has_webgpu() {
    const auto made = make_backend("webgpu", 1, Precision::kExact);
    return made || made.error().message.find("built without it") == std::string::npos;
  }

  void make_device(const std::string& name) const {
    const fs::path path = folder_.path(name);
    fs::create_directories(path.parent_path());
    fs::create_directory(path);
  }

  TempFolder folder_;
};

TEST_F(BackendsTest, NoDeviceIsNoReasonToWarn) {
  const auto found = find_gpu(folder_.path("nowhere"));
  ASSERT_TRUE(found);
  EXPECT_FALSE(*found);
}

TEST_F(BackendsTest, ACardThatOnlyShowsPicturesIsNoGpu) {
  make_device("dri/card0");
  const auto found = find_gpu(folder_.path(""));
  ASSERT_TRUE(found);
  EXPECT_FALSE(*found);
}

TEST_F(BackendsTest, ADeviceWithoutTheLibrarySaysWhatIsMissing) {
  if (!has_webgpu()) GTEST_SKIP() << "built without the WebGPU backend";
  for (const char* name : {"dri/renderD128", "nvidia0"}) {
    make_device(name);
    const auto found = find_gpu(folder_.path(""));
    ASSERT_FALSE(found) << name;
    EXPECT_THAT(found.error().message, AllOf(HasSubstr("found none"), Not(HasSubstr("\n"))));
    fs::remove_all(folder_.path(name));
  }
}

TEST_F(BackendsTest, AutoFallsBackToTheCpuAndSaysWhy) {
  const auto chosen = choose_backend("auto", 1, Precision::kExact, 0);
  ASSERT_TRUE(chosen) << chosen.error().message;
  EXPECT_EQ(chosen->backend->name(), "cpu");
  EXPECT_THAT(chosen->warning, StartsWith("backend auto: the CPU, not a GPU: "));
  const auto cpu = choose_backend("cpu", 1, Precision::kExact, {});
  ASSERT_TRUE(cpu) << cpu.error().message;
  EXPECT_THAT(cpu->warning, IsEmpty());
  EXPECT_FALSE(choose_backend("webgpu", 1, Precision::kExact, {}));
  EXPECT_FALSE(choose_backend("abacus", 1, Precision::kExact, {}));
}

}  // namespace
}  // namespace skein
