// convert_model: a model of any format written anew as an ordinary .safetensors file (BlinkDL's
// names and orientation) or as a .gguf file that llama.cpp loads.
//
// Goals: streaming: one piece of a tensor in memory at a time, pages of the source given back, so
// that the peak is tens of MiB whatever the model's size; the file appears complete or not at all;
// values that the new type cannot hold are an error, never an infinity. Non-goals: quantizing,
// layouts of ours (pack_model.h), vocabularies as files.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/model_file.h"
#include "tensor/dtype.h"

namespace skein {

struct ConvertOptions {
  FileFormat format = FileFormat::kSafetensors;  // or kGguf
  // Of all tensors of a .safetensors file and of the matrices of a .gguf file: f32, f16 or bf16.
  // None: the source's (f16 for what it has in block codecs), and f16 for .gguf.
  std::optional<DType> dtype;
  std::vector<std::string> tokens;  // by id, for .gguf; empty: the file has no vocabulary
  std::string name;                 // of the model, for .gguf
  std::function<void(double fraction)> on_progress;  // may be empty
  std::function<bool()> should_stop;                 // may be empty
};

struct ConvertSummary {
  uint64_t num_tensors = 0;
  uint64_t file_bytes = 0;            // 0: a device
  std::vector<std::string> warnings;  // one line each
};

// Errors: a packed source; what find_part() refuses; a value that the new type cannot hold; the
// file; the user's Ctrl-C.
Result<ConvertSummary> convert_model(const ModelFile& source, const std::string& path,
                                     const ConvertOptions& options);

}  // namespace skein
