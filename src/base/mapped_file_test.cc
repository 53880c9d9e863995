#include "base/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

#include "base/temp_folder.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class MappedFileTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.path(name); }

  std::string write(const std::string& name, std::string_view content) const {
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }

 private:
  TempFolder folder_;
};

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// Pages of the mapping that the process has in memory right now: "Rss" of its entry in the kernel's
// list of mappings. mincore() would tell about the page cache instead. SIZE_MAX where there is no
// such list.
size_t count_resident_pages(const MappedFile& file) {
  const auto address = reinterpret_cast<uintptr_t>(file.bytes().data());
  const std::string entry = fmt::format("{:x}-", address);
  std::ifstream mappings("/proc/self/smaps");
  bool is_ours = false;
  for (std::string line; std::getline(mappings, line);) {
    is_ours = is_ours || line.starts_with(entry);
    if (!is_ours || !line.starts_with("Rss:")) continue;
    return std::stoul(line.substr(4)) * 1024 / static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  }
  return SIZE_MAX;
}

TEST_F(MappedFileTest, GivesTheContent) {
  const std::string file_path = write("a", std::string_view("hello\0world", 11));
  const auto file = MappedFile::open(file_path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(text_of(*file), std::string_view("hello\0world", 11));
  EXPECT_EQ(file->path(), file_path);
}

TEST_F(MappedFileTest, AnEmptyFileHasZeroBytes) {
  const auto file = MappedFile::open(write("empty", ""));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE(file->bytes().empty());
  file->will_need(0, 0);
  file->use_huge_pages();
  file->release(0, 0);
}

TEST_F(MappedFileTest, MovesWithoutMovingTheBytes) {
  auto first = MappedFile::open(write("a", "first"));
  auto second = MappedFile::open(write("b", "second"));
  ASSERT_TRUE(first && second);
  const std::byte* data = first->bytes().data();
  MappedFile moved(std::move(*first));
  EXPECT_EQ(moved.bytes().data(), data);
  EXPECT_TRUE(first->bytes().empty());
  *second = std::move(moved);
  EXPECT_EQ(text_of(*second), "first");
  EXPECT_EQ(second->path(), path("a"));
}

TEST_F(MappedFileTest, KeepsTheOldContentWhenThePathIsReplaced) {
  const auto file = MappedFile::open(write("a", "old"));
  ASSERT_TRUE(file);
  fs::rename(write("b", "new"), path("a"));
  EXPECT_EQ(text_of(*file), "old");
}

TEST_F(MappedFileTest, RefusesWhatIsNoRegularFile) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  const std::pair<std::string, std::string> cases[] = {{path("missing"), "No such file"},
                                                       {path("."), "a folder"},
                                                       {path("fifo"), "a fifo"},
                                                       {"/dev/null", "a device"},
                                                       {"", "No such file"}};
  for (const auto& [name, found] : cases) {
    const auto file = MappedFile::open(name);
    ASSERT_FALSE(file) << name;
    EXPECT_THAT(file.error().message, AllOf(StartsWith(name + ": "), HasSubstr(found)));
  }
  EXPECT_FALSE(MappedFile::open(write("a", "x") + std::string("\0b", 2)));
}

TEST_F(MappedFileTest, RefusesAFileWithoutPermission) {
  const std::string file_path = write("secret", "x");
  ASSERT_EQ(::chmod(file_path.c_str(), 0), 0);
  // Root may read everything, so for the moment of opening it becomes somebody else.
  constexpr uid_t kNobody = 65534;
  const bool is_root = ::geteuid() == 0;
  if (is_root && ::seteuid(kNobody) != 0) GTEST_SKIP() << "root may read every file";
  const auto file = MappedFile::open(file_path);
  if (is_root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message,
              AllOf(StartsWith(file_path + ": "), HasSubstr("Permission denied")));
}

TEST_F(MappedFileTest, ReleaseDropsOnlyPagesInsideTheRangeAndTheDataComesBack) {
  const auto page_bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  std::string content(page_bytes * 8 + 100, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 31 >> 3);
  const auto file = MappedFile::open(write("pages", content));
  ASSERT_TRUE(file);
  // Fault-around would map neighbours of a touched page back in and blur the counts below.
  ::madvise(const_cast<std::byte*>(file->bytes().data()), content.size(), MADV_RANDOM);
  file->use_huge_pages();
  file->will_need(page_bytes + 1, page_bytes);
  EXPECT_EQ(text_of(*file), content);
  const size_t all = count_resident_pages(*file);
  if (all != 9) GTEST_SKIP() << "resident pages cannot be counted here (" << all << " of 9)";

  file->release(1, 2 * page_bytes - 2);  // touches two pages, covers none
  EXPECT_EQ(count_resident_pages(*file), 9u);
  file->release(1, 3 * page_bytes - 1);  // covers pages 1 and 2
  EXPECT_EQ(count_resident_pages(*file), 7u);
  file->release(page_bytes * 7, page_bytes + 100);  // page 7 and the tail
  EXPECT_EQ(count_resident_pages(*file), 5u);
  EXPECT_EQ(text_of(*file), content);
  file->release(0, content.size());
  EXPECT_EQ(count_resident_pages(*file), 0u);
  EXPECT_EQ(text_of(*file), content);
}

TEST_F(MappedFileTest, RangesOutsideTheFileAreBugs) {
  const auto file = MappedFile::open(write("a", "12345"));
  ASSERT_TRUE(file);
  EXPECT_DEATH(file->release(3, 3), "check failed");
  EXPECT_DEATH(file->will_need(UINT64_MAX, 2), "check failed");
}

}  // namespace
}  // namespace skein
