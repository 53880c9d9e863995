// The dimensions of a model, read off the shapes of its tensors.
#pragma once

#include "backend/rwkv7.h"
#include "base/result.h"
#include "model/tensor_names.h"

namespace skein {

// Bounds that no RWKV-7 model comes near; they keep every product of two dimensions far inside 64
// bits.
inline constexpr uint64_t kMaxNumEmb = 1u << 16;
inline constexpr uint64_t kMaxNumHidden = 1u << 20;
inline constexpr uint64_t kMaxNumVocab = 1u << 24;
inline constexpr uint32_t kMaxNumLayers = 1024;
inline constexpr uint32_t kHeadSize = 64;  // of every released RWKV-7

// Errors: a tensor that dimensions are read off is missing or has another rank, C is no multiple of
// 64, another RWKV version (named where its tensors tell). Other tensors are not looked at: the
// loader checks each against list_weights().
Result<Dimensions> infer_dimensions(const ModelTensors& file, const std::string& path);

// Whether a model may have these dimensions: every one within its bound, C a multiple of the head
// size. infer_dimensions() has asked.
Status check_dimensions(const Dimensions& dims, const std::string& path);

// "[65536, 2048]"
std::string shape_text(std::span<const uint64_t> shape);

}  // namespace skein
