#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace skein {
namespace {

TEST(DTypeTest, TextFormsRoundTrip) {
  for (DType dtype : kAllDTypes) EXPECT_EQ(parse_dtype(to_string(dtype)).value(), dtype);
  EXPECT_EQ(parse_dtype("F16").error().message,
            "dtype: expected f32, f16, bf16, int8, nf4, sf4, q8_0, q4_0 or q4_k, found 'F16'");
}

TEST(BufferTest, IsZeroAlignedAndReadableBehindItsEnd) {
  for (uint64_t num_bytes : {uint64_t{0}, uint64_t{1}, uint64_t{4096}, (uint64_t{2} << 20) - 1,
                             uint64_t{2} << 20, (uint64_t{5} << 20) + 3}) {
    const auto buffer = allocate_host_buffer(num_bytes).value();
    EXPECT_EQ(buffer->num_bytes(), num_bytes);
    const uint64_t align_bytes = num_bytes >= uint64_t{2} << 20 ? uint64_t{2} << 20 : 4096;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->host_data()) % align_bytes, 0u) << num_bytes;
    const std::byte* data = buffer->host_data();
    EXPECT_TRUE(std::all_of(data, data + num_bytes + kReadSlackBytes,
                            [](std::byte byte) { return byte == std::byte{0}; }));
    std::fill_n(buffer->host_data(), num_bytes, std::byte{1});
  }
}

TEST(BufferTest, SaysHowMuchTheSystemDoesNotHave) {
  for (uint64_t num_bytes : {uint64_t{1} << 62, ~uint64_t{0}}) {
    const auto buffer = allocate_host_buffer(num_bytes);
    ASSERT_FALSE(buffer.has_value());
    EXPECT_EQ(
        buffer.error().message.find(fmt::format("memory: cannot allocate {} bytes: ", num_bytes)),
        0u)
        << buffer.error().message;
  }
}

TEST(BufferTest, ABorrowedOneKeepsItsOwner) {
  auto owner = std::make_shared<std::vector<std::byte>>(10);
  const std::weak_ptr<std::vector<std::byte>> watch = owner;
  auto buffer = borrow_host_buffer(owner->data(), owner->size(), owner);
  EXPECT_EQ(buffer->host_data(), owner->data());
  EXPECT_EQ(buffer->num_bytes(), 10u);
  owner.reset();
  EXPECT_FALSE(watch.expired());
  buffer.reset();
  EXPECT_TRUE(watch.expired());
}

TEST(TensorTest, KnowsItsExtentsAndItsPlace) {
  EXPECT_FALSE(Tensor());
  const auto mapping = make_mapping(Layout::row_major(64), {3, 40}, 16).value();
  const auto buffer = allocate_host_buffer(1024).value();
  const Tensor tensor(buffer, 256, DType::kF16, mapping);
  EXPECT_TRUE(tensor);
  EXPECT_EQ(tensor.rows(), 3u);
  EXPECT_EQ(tensor.cols(), 40u);
  EXPECT_EQ(tensor.num_elems(), 120u);
  EXPECT_EQ(tensor.span_elems(), 3u * 64);  // 80 bytes round up to 128
  EXPECT_EQ(tensor.span_bytes(), 3u * 128);
  EXPECT_EQ(tensor.host_data(), buffer->host_data() + 256);
  EXPECT_EQ(to_string(tensor.layout()), "row_major@64B");
}

}  // namespace
}  // namespace skein
