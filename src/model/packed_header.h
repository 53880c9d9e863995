// PackedHeader: what the metadata of a packed model (`skein pack`) say, as a value and as text.
//
// A packed model is a .safetensors file whose tensors are byte blobs (U8, [bytes]), each the span
// of one weight as it lies in memory, at a multiple of kPackedAlignBytes; docs/architecture.md,
// "Packed files", has the rest. Its metadata are:
//
//   skein_packed   kPackedVersion
//   dimensions     "layers=6 emb=256 hidden=1024 vocab=837 rank_w=32 rank_a=32 rank_v=32 rank_g=64"
//   layout, quant  the plan, as parse_weight_plan() and parse_quant() read it; empty: the default
//   activations    "packed" or "separate"
//   neurons        "file", or "reordered": in another order than the source's
//   plan           WeightPlan::text(), for people; not read
//   source         the file that it was made from, without its folders
//   source_hash    Rwkv7::hash() of that, 16 hexadecimal digits
//   weight.NAME    "dtype=int8 from=f16 shape=256x256 layout=interleave(16,128,4) xxh3=HASH", one
//                  for each tensor; NAME is WeightSpec::label()
//
// Goals: nothing that a hostile file says gets past parse_packed_header() unchecked but what only
// the tensors and a backend can tell. Non-goals: the tensors themselves (packed_loader.cc).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "backend/rwkv7.h"
#include "base/result.h"
#include "layout/layout.h"
#include "model/weight_plan.h"
#include "tensor/dtype.h"

namespace skein {

inline constexpr std::string_view kPackedKey = "skein_packed";
inline constexpr std::string_view kPackedVersion = "1";

// Of tensors in the arena and in a packed file: the alignment of quantized sections and of buffer
// bindings on GPUs, a multiple of every cache line.
inline constexpr uint64_t kPackedAlignBytes = 256;

// How one weight was packed.
struct PackedWeight {
  DType dtype = DType::kF32;
  DType file_dtype = DType::kF32;  // in the source; of ggml's codecs as WeightReport has it
  uint64_t rows = 0, cols = 0;
  Layout layout;
  uint64_t checksum = 0;  // hash64() of the blob

  friend bool operator==(const PackedWeight&, const PackedWeight&) = default;
};

struct PackedHeader {
  Dimensions dims;
  WeightPlan plan;
  bool reordered_neurons = false;
  std::string source;
  uint64_t source_hash = 0;
  std::map<std::string, PackedWeight, std::less<>> weights;  // by label
};

using Metadata = std::map<std::string, std::string>;

// Whether the file claims to be a packed model, of whatever version.
bool is_packed(const Metadata& metadata);

// Law: parse_packed_header(to_metadata(x)) is x. The length of the text does not depend on the
// checksums.
Metadata to_metadata(const PackedHeader& header);

// Errors, one line each that starts with `path`: another version, something missing or not in the
// form above, dimensions that no model has, a plan that cannot be read. Other metadata are left
// alone.
Result<PackedHeader> parse_packed_header(const Metadata& metadata, const std::string& path);

}  // namespace skein
