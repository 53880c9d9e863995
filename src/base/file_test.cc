#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>

#include "base/temp_folder.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class FileTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.path(name); }

  std::string write(const std::string& name, std::string_view content) const {
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }

  std::string read(const std::string& name) const {
    std::stringstream content;
    content << std::ifstream(path(name), std::ios::binary).rdbuf();
    return content.str();
  }

  size_t count_files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_.path()), {}));
  }

 private:
  TempFolder folder_;
};

TEST_F(FileTest, WritesAndReplaces) {
  ASSERT_TRUE(write_file_atomically(path("a"), bytes_of("one")));
  EXPECT_EQ(read("a"), "one");
  ASSERT_TRUE(write_file_atomically(path("a"), bytes_of("")));
  EXPECT_EQ(read("a"), "");
  EXPECT_EQ(count_files(), 1u);
}

TEST_F(FileTest, NothingIsSeenBeforeCommit) {
  write("a", "old");
  auto file = AtomicFile::open(path("a"));
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_TRUE(file->write(bytes_of("ne")));
  ASSERT_TRUE(file->write(bytes_of("w")));
  EXPECT_EQ(read("a"), "old");
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(read("a"), "new");
  EXPECT_EQ(count_files(), 1u);
}

TEST_F(FileTest, WithoutCommitNoTraceRemains) {
  write("a", "old");
  {
    auto file = AtomicFile::open(path("a"));
    ASSERT_TRUE(file && file->write(bytes_of("new")));
    AtomicFile moved(std::move(*file));
    auto other = AtomicFile::open(path("b"));
    ASSERT_TRUE(other);
    EXPECT_EQ(count_files(), 3u);
    *other = std::move(moved);  // drops what was begun for b
    EXPECT_EQ(count_files(), 2u);
  }
  EXPECT_EQ(read("a"), "old");
  EXPECT_EQ(count_files(), 1u);
}

TEST_F(FileTest, KeepsPermissionsAndObeysTheUmask) {
  const auto mode_of = [&](const char* name) {
    struct stat info {};
    EXPECT_EQ(::stat(path(name).c_str(), &info), 0);
    return info.st_mode & 07777u;
  };
  write("a", "old");
  ASSERT_EQ(::chmod(path("a").c_str(), 0640), 0);
  const mode_t mask = ::umask(027);
  EXPECT_TRUE(write_file_atomically(path("a"), bytes_of("new")));
  EXPECT_TRUE(write_file_atomically(path("b"), bytes_of("new")));
  ::umask(mask);
  EXPECT_EQ(mode_of("a"), 0640u);
  EXPECT_EQ(mode_of("b"), 0640u);
}

TEST_F(FileTest, WritesThroughASymbolicLink) {
  write("target", "old");
  fs::create_symlink("target", path("link"));
  ASSERT_TRUE(write_file_atomically(path("link"), bytes_of("new")));
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read("target"), "new");
}

TEST_F(FileTest, WritesToDevicesDirectly) {
  EXPECT_TRUE(write_file_atomically("/dev/null", bytes_of("x")));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  const Status full = write_file_atomically("/dev/full", bytes_of("x"));
  ASSERT_FALSE(full);
  EXPECT_THAT(full.error().message,
              AllOf(StartsWith("/dev/full: "), HasSubstr("No space left on device")));
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(FileTest, WritesToAFifoDirectlyAndReadsFromOne) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  Status written;
  std::thread writer([&] { written = write_file_atomically(path("fifo"), bytes_of("through")); });
  const auto text = read_text_file(path("fifo"), 100);
  writer.join();
  EXPECT_TRUE(written) << written.error().message;
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(*text, "through");
  EXPECT_TRUE(fs::is_fifo(path("fifo")));
}

TEST_F(FileTest, RefusesBadTargets) {
  write("file", "x");
  const std::pair<std::string, std::string> cases[] = {
      {path("no/such/folder"), "No such file"},
      {path("file/below"), "Not a directory"},
      {path("."), "a folder"},
      {path(std::string(300, 'n')), "File name too long"}};
  for (const auto& [name, found] : cases) {
    const Status status = write_file_atomically(name, bytes_of("x"));
    ASSERT_FALSE(status) << name;
    EXPECT_THAT(status.error().message, AllOf(StartsWith(name + ": "), HasSubstr(found)));
  }
  EXPECT_FALSE(write_file_atomically("", bytes_of("x")));
  EXPECT_FALSE(write_file_atomically(path("file") + std::string("\0b", 2), bytes_of("y")));
  EXPECT_EQ(read("file"), "x");
}

// The limit on file sizes stands for a full disk: write() comes back short, then fails.
TEST_F(FileTest, AFailedWriteLeavesTheOldFile) {
  write("a", "old");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{5000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = write_file_atomically(path("a"), bytes_of(std::string(10000, 'x')));
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message,
              AllOf(StartsWith(path("a") + ": "), HasSubstr("File too large")));
  EXPECT_EQ(read("a"), "old");
  EXPECT_EQ(count_files(), 1u);
}

TEST_F(FileTest, OverwritesWhatWasWritten) {
  auto file = AtomicFile::open(path("a"));
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->write(bytes_of("0000 middle")));
  ASSERT_TRUE(file->overwrite(0, bytes_of("head")));
  ASSERT_TRUE(file->write(bytes_of(" end")));
  ASSERT_TRUE(file->overwrite(12, bytes_of("END")));
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(read("a"), "head middle END");
}

TEST_F(FileTest, ReservedRoomIsNoContent) {
  auto file = AtomicFile::open(path("a"));
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->reserve(100'000));
  ASSERT_TRUE(file->write(bytes_of("short")));
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(read("a"), "short");
}

TEST_F(FileTest, RoomThatIsNotThereIsAnError) {
  auto file = AtomicFile::open(path("a"));
  ASSERT_TRUE(file);
  const Status status = file->reserve(uint64_t{1} << 60);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, AllOf(StartsWith(path("a") + ": "), HasSubstr("write")));
  auto device = AtomicFile::open("/dev/null");
  EXPECT_TRUE(device && device->reserve(uint64_t{1} << 60));
}

TEST_F(FileTest, ReadsText) {
  const std::string content(200'000, 'x');
  write("a", content);
  const auto text = read_text_file(path("a"), content.size());
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(*text, content);
  const auto cut = read_text_file(path("a"), content.size() - 1);
  ASSERT_FALSE(cut);
  EXPECT_THAT(cut.error().message, AllOf(StartsWith(path("a") + ": "), HasSubstr("199999")));
  EXPECT_EQ(*read_text_file(write("empty", ""), 0), "");
}

TEST_F(FileTest, RefusesToReadWhatIsNoText) {
  EXPECT_THAT(read_text_file(path("missing"), 9).error().message, HasSubstr("No such file"));
  EXPECT_THAT(read_text_file(path("."), 9).error().message, HasSubstr("Is a directory"));
  EXPECT_THAT(read_text_file("/dev/zero", 1000).error().message, HasSubstr("at most 1000"));
}

}  // namespace
}  // namespace skein
