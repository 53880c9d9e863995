#include "backend/webgpu/tensor_check.h"

#include <array>
#include <cmath>
#include <vector>

#include "backend/webgpu/dense.h"
#include "backend/webgpu/halves.h"
#include "backend/webgpu/steps.h"
#include "base/float16.h"

namespace skein::webgpu {
namespace {

// No multiples of a tile; cols with and without a tail of the unrolled loop.
constexpr uint32_t kRows = 48, kCols = 272;
constexpr uint32_t kFewTokens = 7, kManyTokens = 40;
// Steps of other numbers than the backend's.
constexpr uint64_t kFirstKey = 1000;

// In [-1, 1), the same on every machine.
float value_of(uint64_t i) {
  return static_cast<float>((i * 2654435761u >> 8) % 2048) / 1024.0f - 1.0f;
}

class TensorCheck {
 public:
  TensorCheck(DeviceMemory& memory, Kernels& kernels, const GpuLimits& limits,
              const std::function<void(Kernel&)>& rewrite)
      : memory_(memory),
        kernels_(kernels),
        limits_(limits),
        plain_limits_(limits),
        rewrite_(rewrite) {
    plain_limits_.has_tensor_cores = false;
  }

  Status run(const Layout& layout, uint32_t num_tokens) {
    SKEIN_ASSIGN_OR_RETURN(const Tensor weights, make_weights(layout));
    SKEIN_ASSIGN_OR_RETURN(const Activation x, make_activation(num_tokens, kCols));
    std::vector<float> values(uint64_t{num_tokens} * kCols);
    // Rows of very different sizes, as activations have.
    for (uint64_t i = 0; i < values.size(); ++i) {
      values[i] = std::ldexp(value_of(i + 7), static_cast<int>(i / kCols % 5 * 9) - 12);
    }
    SKEIN_RETURN_IF_ERROR(
        memory_.upload(gpu_buffer(*x.buffer), 0, std::as_bytes(std::span(values))));
    SKEIN_ASSIGN_OR_RETURN(const std::vector<float> expected,
                           product(weights, x, num_tokens, plain_limits_));
    SKEIN_ASSIGN_OR_RETURN(const std::vector<float> found,
                           product(weights, x, num_tokens, limits_));
    for (uint64_t i = 0; i < expected.size(); ++i) {
      // Of a row's inputs and as many products, in another order.
      const float size = std::ldexp(std::sqrt(static_cast<float>(kCols)),
                                    static_cast<int>(i / kRows % 5 * 9) - 12);
      if (!(std::abs(expected[i] - found[i]) <= 1e-5f * size)) {
        return error("tensor cores: expected {}, found {} in row {} of token {}", expected[i],
                     found[i], i % kRows, i / kRows);
      }
    }
    return {};
  }

 private:
  Result<Tensor> make_weights(const Layout& layout) {
    SKEIN_ASSIGN_OR_RETURN(const AnyMapping mapping, make_mapping(layout, {kRows, kCols}, 16));
    std::vector<uint16_t> halves(mapping.required_span_size());
    for (uint64_t row = 0; row < kRows; ++row) {
      for (uint64_t col = 0; col < kCols; ++col) {
        halves[mapping(row, col)] = f16_from(value_of(row * kCols + col)).bits;
      }
    }
    SKEIN_ASSIGN_OR_RETURN(auto buffer, memory_.allocate(mapping.span_bytes()));
    SKEIN_RETURN_IF_ERROR(memory_.upload(*buffer, 0, std::as_bytes(std::span(halves))));
    return Tensor(std::move(buffer), 0, DType::kF16, mapping);
  }

  Result<Activation> make_activation(uint32_t rows, uint32_t cols) {
    SKEIN_ASSIGN_OR_RETURN(auto buffer, memory_.allocate(uint64_t{rows} * cols * sizeof(float)));
    return Activation{std::move(buffer), 0, cols, cols};
  }

  Result<std::vector<float>> product(const Tensor& weights, const Activation& x,
                                     uint32_t num_tokens, const GpuLimits& limits) {
    SKEIN_ASSIGN_OR_RETURN(const Activation y, make_activation(num_tokens, kRows));
    // The header of a batch, of which kernels read the number of tokens.
    const std::array<uint32_t, 8> header = {num_tokens};
    SKEIN_ASSIGN_OR_RETURN(const auto batch, memory_.allocate(sizeof(header)));
    SKEIN_RETURN_IF_ERROR(memory_.upload(*batch, 0, std::as_bytes(std::span(header))));
    const Activation* input = &x;
    Halves halves({&input, 1}, num_tokens);
    SKEIN_ASSIGN_OR_RETURN(auto scratch, memory_.allocate(halves.num_bytes()));
    halves.set_buffer(std::move(scratch));
    const DenseJob job = {&weights, &x, &y};
    SKEIN_RETURN_IF_ERROR(kernels_.run(StepKey(key_++), [&] {
      auto made = dense_kernels("tensor check", {&job, 1},
                                {num_tokens, batch.get(), "[0].x", &halves}, limits);
      if (!made || !rewrite_) return made;
      for (Kernel& kernel : *made) rewrite_(kernel);
      return made;
    }));
    std::vector<float> values(uint64_t{num_tokens} * kRows);
    SKEIN_RETURN_IF_ERROR(
        memory_.download(gpu_buffer(*y.buffer), 0, std::as_writable_bytes(std::span(values))));
    return values;
  }

  DeviceMemory& memory_;
  Kernels& kernels_;
  const GpuLimits& limits_;
  GpuLimits plain_limits_;
  const std::function<void(Kernel&)>& rewrite_;
  uint64_t key_ = kFirstKey;
};

}  // namespace

Status check_tensor_cores(DeviceMemory& memory, Kernels& kernels, const GpuLimits& limits,
                          const std::function<void(Kernel&)>& rewrite) {
  TensorCheck check(memory, kernels, limits, rewrite);
  for (const Layout& layout : {Layout::row_major(), Layout::col_major()}) {
    for (const uint32_t num_tokens : {kFewTokens, kManyTokens}) {
      // A test's loops take seconds to compile: one way of each suffices it.
      const bool is_crossed = (layout.kind == LayoutKind::kRowMajor) == (num_tokens > kFewTokens);
      if (rewrite && is_crossed) continue;
      SKEIN_RETURN_IF_ERROR(check.run(layout, num_tokens));
    }
  }
  return {};
}

}  // namespace skein::webgpu
