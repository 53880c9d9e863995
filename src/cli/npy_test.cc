#include "cli/npy.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/temp_folder.h"

namespace skein::cli {
namespace {

TEST(Npy, HeaderIsFormatOneZero) {
  for (const uint64_t rows : {uint64_t{1}, uint64_t{123'456}, uint64_t{1} << 40}) {
    const std::string header = npy_header(rows, 837);
    EXPECT_EQ(header.substr(0, 8), std::string("\x93NUMPY\x01\0", 8));
    const size_t length =
        static_cast<unsigned char>(header[8]) + 256u * static_cast<unsigned char>(header[9]);
    EXPECT_EQ(header.size(), 10 + length);
    EXPECT_EQ(header.size() % 64, 0u);
    EXPECT_EQ(header.back(), '\n');
    EXPECT_NE(header.find("'shape': (" + std::to_string(rows) + ", 837), }"), std::string::npos);
  }
}

TEST(Npy, RowsFollowTheHeader) {
  const TempFolder folder;
  const std::string path = folder.path("a.npy");
  auto writer = NpyWriter::open(path, 2, 3);
  ASSERT_TRUE(writer.has_value()) << writer.error().message;
  const std::vector<float> rows = {1, 2, 3, 4, 5, 6};
  ASSERT_TRUE(writer->write_row(std::span(rows).first(3)).has_value());
  ASSERT_TRUE(writer->write_row(std::span(rows).last(3)).has_value());
  ASSERT_TRUE(writer->commit().has_value());
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  const std::string header = npy_header(2, 3);
  ASSERT_EQ(bytes.size(), header.size() + rows.size() * sizeof(float));
  EXPECT_EQ(bytes.substr(0, header.size()), header);
  EXPECT_EQ(std::memcmp(bytes.data() + header.size(), rows.data(), rows.size() * sizeof(float)), 0);
}

TEST(Npy, NothingStaysOfAnUnfinishedFile) {
  const TempFolder folder;
  const std::string path = folder.path("unfinished.npy");
  {
    auto writer = NpyWriter::open(path, 2, 1);
    ASSERT_TRUE(writer.has_value());
    const float value = 1;
    ASSERT_TRUE(writer->write_row({&value, 1}).has_value());
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace skein::cli
