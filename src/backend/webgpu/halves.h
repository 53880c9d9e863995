// Halves: activations as pairs of f16 for tensor cores, high part and low part of every value
// (shaders/halves.wgsl), and where they lie in one scratch buffer.
//
// Goals: products of tensor cores that are as exact as those of f32, whatever the size of the
// values. Non-goals: weights, which are f16 already.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/rwkv7.h"
#include "backend/webgpu/kernels.h"

namespace skein::webgpu {

class Halves {
 public:
  // Places for up to `num_tokens` rows of each activation, the same one once. What fits behind the
  // last row of a tile may be read and is never used.
  Halves(std::span<const Activation* const> activations, uint32_t num_tokens);

  uint64_t num_bytes() const noexcept { return num_bytes_; }
  // The buffer that all lies in: num_bytes() or more.
  void set_buffer(std::shared_ptr<GpuBuffer> buffer) { buffer_ = std::move(buffer); }
  const std::shared_ptr<GpuBuffer>& buffer() const noexcept { return buffer_; }

  struct Item {
    const Activation* activation;
    uint64_t begin, end;
  };
  std::span<const Item> items() const noexcept { return items_; }
  // Of an activation that the constructor was given.
  ByteRange range_of(const Activation& activation) const;

 private:
  std::vector<Item> items_;
  uint64_t num_bytes_ = 0;
  std::shared_ptr<GpuBuffer> buffer_;
};

// Writes all of them. Needs subgroups.
Result<Kernel> halves_kernel(const Halves& halves, uint32_t num_tokens, const GpuLimits& limits);

}  // namespace skein::webgpu
