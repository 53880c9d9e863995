#include "backend/reference/reference_backend.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

namespace skein {
namespace {

constexpr bool accept_any(const Layout&) { return true; }

constexpr KernelInfo any_layout(MatrixOp op, DType dtype, std::string_view name) {
  return {op, dtype, "any layout", accept_any, name};
}

// The embedding is as the file has it: plain, or in a codec of ggml.
constexpr auto kKernels = [] {
  std::array<KernelInfo, kEmbeddingDTypes.size() + 2 * kAllDTypes.size()> kernels{};
  size_t n = 0;
  for (const DType dtype : kEmbeddingDTypes) {
    kernels[n++] = any_layout(MatrixOp::kGather, dtype, "gather");
  }
  for (const DType dtype : kAllDTypes) {
    kernels[n++] = any_layout(MatrixOp::kDense, dtype, "dense");
    kernels[n++] = any_layout(MatrixOp::kSparse, dtype, "sparse");
  }
  return kernels;
}();

// Four sums, so that adding is not slower than reading.
uint64_t sum_words(const std::byte* data, uint64_t num_bytes) {
  std::array<uint64_t, 4> sums{}, words{};
  for (uint64_t i = 0; i + sizeof(words) <= num_bytes; i += sizeof(words)) {
    std::memcpy(words.data(), data + i, sizeof(words));
    for (size_t j = 0; j < words.size(); ++j) sums[j] += words[j];
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace

std::span<const KernelInfo> ReferenceBackend::kernels() const noexcept { return kKernels; }

Result<double> ReferenceBackend::measure_read_bandwidth() {
  constexpr uint64_t kBytes = uint64_t{256} << 20;  // far beyond the last cache of a desktop
  constexpr int kPasses = 3;                        // the first one is disturbed by page faults
  SKEIN_ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> buffer, allocate(kBytes));
  // Pages that were never written may all be the same one.
  std::memset(buffer->host_data(), 1, kBytes);
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    // Keeps the sum, and so the reads, from being optimised away.
    volatile uint64_t sink = sum_words(buffer->host_data(), kBytes);
    (void)sink;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(kBytes) / seconds.count());
  }
  return best;
}

Result<std::unique_ptr<Backend>> make_reference_backend() {
  return std::make_unique<ReferenceBackend>();
}

}  // namespace skein
