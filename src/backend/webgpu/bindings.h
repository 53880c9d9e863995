// Bindings: the buffers of one shader as it is put together: which range of which buffer stands
// behind which variable.
//
// Goals: tensors that lie side by side in one buffer share one binding, so that a dispatch over
// seven matrices of an arena binds the arena once; a range larger than the device can bind is an
// error, not a wrong number. Non-goals: bind group numbers other than 0.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/rwkv7.h"
#include "backend/webgpu/gpu_buffer.h"
#include "base/result.h"

namespace skein::webgpu {

// Bytes of weights: a tensor's span, a part of it, or its scales.
struct ByteRange {
  const GpuBuffer* buffer = nullptr;
  uint64_t begin = 0, end = 0;
};
ByteRange codes_range(const Tensor& tensor);   // without the scales
ByteRange scales_range(const Tensor& tensor);  // of a quantized one

struct Binding {
  const GpuBuffer* buffer = nullptr;
  uint64_t begin = 0, end = 0;
  bool is_written = false;
  std::string type;  // of the variable: "array<f32>"
};

enum class Access : uint8_t { kRead, kWrite };

class Bindings {
 public:
  // Where a range lies: the variable's name and the offset from its start.
  struct Place {
    std::string name;
    uint64_t offset_bytes = 0;
  };

  explicit Bindings(const GpuLimits& limits) : limits_(limits) {}

  // All weights of the shader at once: ranges of one buffer share a binding where it can hold them.
  Status add_weights(std::span<const ByteRange> ranges);
  // A range that add_weights() was given; the variable is an array<vec4<u32>>.
  Place weights(const ByteRange& range) const;
  // The same bytes once more, as an array of another type.
  Result<Place> weights_as(const ByteRange& range, std::string_view type);

  // `num_rows` rows of the activation. The variable is an array of f32, or of vec4<f32> with
  // `in_quads`. An activation that is written must not be bound for reading too.
  Result<Place> activation(const Activation& activation, uint64_t num_rows, Access access,
                           bool in_quads = false);
  // One binding for activations of one buffer, which activation() then finds. Their distances
  // become part of the text.
  Status join(std::span<const Activation* const> activations, uint64_t num_rows, Access access,
              bool in_quads = false);
  Result<Place> range(const GpuBuffer& buffer, uint64_t begin, uint64_t end, Access access,
                      std::string_view type);

  size_t size() const noexcept { return bindings_.size(); }
  std::span<const Binding> list() const noexcept { return bindings_; }
  std::string declarations() const;

 private:
  size_t index_of(const ByteRange& range) const;

  const GpuLimits& limits_;
  std::vector<Binding> bindings_;
};

}  // namespace skein::webgpu
