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

// The embedding is plain: a gather reads single rows of the file.
constexpr std::array<KernelInfo, 15> kKernels = {
    any_layout(MatrixOp::kGather, DType::kF32, "gather"),
    any_layout(MatrixOp::kGather, DType::kF16, "gather"),
    any_layout(MatrixOp::kGather, DType::kBF16, "gather"),
    any_layout(MatrixOp::kDense, DType::kF32, "dense"),
    any_layout(MatrixOp::kDense, DType::kF16, "dense"),
    any_layout(MatrixOp::kDense, DType::kBF16, "dense"),
    any_layout(MatrixOp::kDense, DType::kInt8, "dense"),
    any_layout(MatrixOp::kDense, DType::kNF4, "dense"),
    any_layout(MatrixOp::kDense, DType::kSF4, "dense"),
    any_layout(MatrixOp::kSparse, DType::kF32, "sparse"),
    any_layout(MatrixOp::kSparse, DType::kF16, "sparse"),
    any_layout(MatrixOp::kSparse, DType::kBF16, "sparse"),
    any_layout(MatrixOp::kSparse, DType::kInt8, "sparse"),
    any_layout(MatrixOp::kSparse, DType::kNF4, "sparse"),
    any_layout(MatrixOp::kSparse, DType::kSF4, "sparse"),
};
static_assert(kKernels.size() == kDTypes.size() + 2 * kAllDTypes.size());

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
