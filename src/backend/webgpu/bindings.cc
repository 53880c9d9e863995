#include "backend/webgpu/bindings.h"

#include <algorithm>

#include "base/bits.h"
#include "base/check.h"

namespace skein::webgpu {
namespace {

constexpr std::string_view kWeightsType = "array<vec4<u32>>";

std::string name_of(size_t index) { return fmt::format("b{}", index); }

// Offsets of bindings are multiples of 256 B on every device.
uint64_t bound_begin(uint64_t begin) { return begin / kBufferGrainBytes * kBufferGrainBytes; }
uint64_t bound_end(uint64_t end) { return round_up<uint64_t>(end, 16); }

Status check_size(const GpuLimits& limits, uint64_t begin, uint64_t end) {
  if (bound_end(end) - bound_begin(begin) <= limits.max_binding_bytes) return {};
  return error("expected at most {} bytes in one binding of this device, found {}",
               limits.max_binding_bytes, bound_end(end) - bound_begin(begin));
}

// The first byte of an activation's rows, and one behind the last.
std::pair<uint64_t, uint64_t> span_of(const Activation& activation, uint64_t num_rows) {
  const uint64_t begin = activation.offset_elems * sizeof(float);
  const uint64_t elems =
      (std::max<uint64_t>(num_rows, 1) - 1) * activation.stride_elems + activation.num_cols;
  return {begin, begin + elems * sizeof(float)};
}

std::string_view type_of(bool in_quads) { return in_quads ? "array<vec4<f32>>" : "array<f32>"; }

}  // namespace

ByteRange codes_range(const Tensor& tensor) {
  return {&gpu_buffer(*tensor.buffer()), tensor.offset_bytes(),
          tensor.offset_bytes() + tensor.mapping().span_bytes()};
}

ByteRange scales_range(const Tensor& tensor) {
  const uint64_t begin = tensor.offset_bytes() + tensor.scales_offset_bytes();
  return {&gpu_buffer(*tensor.buffer()), begin, begin + tensor.scales_mapping().span_bytes()};
}

Status Bindings::add_weights(std::span<const ByteRange> ranges) {
  CHECK(bindings_.empty());
  std::vector<ByteRange> sorted(ranges.begin(), ranges.end());
  std::sort(sorted.begin(), sorted.end(), [](const ByteRange& a, const ByteRange& b) {
    return a.buffer->id() != b.buffer->id() ? a.buffer->id() < b.buffer->id() : a.begin < b.begin;
  });
  for (const ByteRange& range : sorted) {
    SKEIN_RETURN_IF_ERROR(check_size(limits_, range.begin, range.end));
    if (!bindings_.empty()) {
      Binding& last = bindings_.back();
      const uint64_t end = std::max(last.end, bound_end(range.end));
      if (last.buffer == range.buffer && end - last.begin <= limits_.max_binding_bytes) {
        last.end = end;
        continue;
      }
    }
    bindings_.push_back({range.buffer, bound_begin(range.begin), bound_end(range.end), false,
                         std::string(kWeightsType)});
  }
  return {};
}

size_t Bindings::index_of(const ByteRange& range) const {
  size_t i = 0;
  const auto has_range = [&](const Binding& binding) {
    return binding.buffer == range.buffer && binding.type == kWeightsType &&
           binding.begin <= range.begin && bound_end(range.end) <= binding.end;
  };
  while (i < bindings_.size() && !has_range(bindings_[i])) ++i;
  CHECK(i < bindings_.size());
  return i;
}

Bindings::Place Bindings::weights(const ByteRange& range) const {
  const size_t i = index_of(range);
  return {name_of(i), range.begin - bindings_[i].begin};
}

Result<Bindings::Place> Bindings::weights_as(const ByteRange& range, std::string_view type) {
  const Binding all = bindings_[index_of(range)];
  SKEIN_ASSIGN_OR_RETURN(Place place,
                         this->range(*all.buffer, all.begin, all.end, Access::kRead, type));
  place.offset_bytes += range.begin - all.begin;
  return place;
}

Result<Bindings::Place> Bindings::activation(const Activation& activation, uint64_t num_rows,
                                             Access access, bool in_quads) {
  const auto [begin, end] = span_of(activation, num_rows);
  return range(gpu_buffer(*activation.buffer), begin, end, access, type_of(in_quads));
}

Status Bindings::join(std::span<const Activation* const> activations, uint64_t num_rows,
                      Access access, bool in_quads) {
  auto [begin, end] = span_of(*activations.front(), num_rows);
  for (const Activation* activation : activations) {
    CHECK(activation->buffer == activations.front()->buffer);
    const auto [one_begin, one_end] = span_of(*activation, num_rows);
    begin = std::min(begin, one_begin);
    end = std::max(end, one_end);
  }
  const Result<Place> place =
      range(gpu_buffer(*activations.front()->buffer), begin, end, access, type_of(in_quads));
  return place ? Status() : tl::unexpected(place.error());
}

Result<Bindings::Place> Bindings::range(const GpuBuffer& buffer, uint64_t begin, uint64_t end,
                                        Access access, std::string_view type) {
  SKEIN_RETURN_IF_ERROR(check_size(limits_, begin, end));
  const bool is_written = access == Access::kWrite;
  for (size_t i = 0; i < bindings_.size(); ++i) {
    Binding& binding = bindings_[i];
    if (binding.buffer != &buffer || binding.type != type) continue;
    // Others of the same buffer get a binding of their own, unless they were joined: their distance
    // depends on the size of the workspace and would be part of the text.
    const bool is_inside = binding.begin <= begin && bound_end(end) <= binding.end;
    if (binding.begin != bound_begin(begin) && !is_inside) continue;
    binding.end = std::max(binding.end, bound_end(end));
    binding.is_written |= is_written;
    return Place{name_of(i), begin - binding.begin};
  }
  bindings_.push_back({&buffer, bound_begin(begin), bound_end(end), is_written, std::string(type)});
  return Place{name_of(bindings_.size() - 1), begin - bound_begin(begin)};
}

std::string Bindings::declarations() const {
  std::string text;
  for (size_t i = 0; i < bindings_.size(); ++i) {
    text +=
        fmt::format("@group(0) @binding({}) var<storage, {}> {}: {};\n", i,
                    bindings_[i].is_written ? "read_write" : "read", name_of(i), bindings_[i].type);
  }
  return text;
}

}  // namespace skein::webgpu
