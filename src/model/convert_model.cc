#include "model/convert_model.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
#include <set>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/thread_pool.h"
#include "format/gguf_writer.h"
#include "format/safetensors_writer.h"
#include "model/plain_tensor.h"
#include "model/weight_source.h"
#include "tensor/pack.h"
#include "tensor/pack_kernels.h"

namespace skein {
namespace {

// Elements that are converted at once: whole blocks of every codec, 4 MiB of f32.
constexpr uint64_t kPieceElems = uint64_t{1} << 20;

constexpr uint32_t kContextLength = 1u << 20;  // RWKV has none; llama.cpp wants one
constexpr uint32_t kFileTypeF16 = 1;           // of ggml's LLAMA_FTYPE numbers

// A tensor of the new file.
struct Output {
  const WeightSpec* spec = nullptr;
  std::vector<const TensorInfo*> parts;  // one behind the other
  TensorDeclaration declaration;
  DType dtype = DType::kF16;
  Layout layout = Layout::row_major();  // in the new file
};

FileDType file_dtype_of(DType dtype) {
  if (dtype == DType::kF32) return FileDType::kF32;
  return dtype == DType::kBF16 ? FileDType::kBF16 : FileDType::kF16;
}

bool is_finite(std::span<const std::byte> values, DType dtype) {
  const size_t elem_bytes = element_bits(dtype) / 8;
  // The exponent is in the upper bits of the upper bytes.
  const uint16_t mask = dtype == DType::kF16 ? 0x7c00 : 0x7f80;
  for (size_t i = 0; i < values.size(); i += elem_bytes) {
    uint16_t high;
    std::memcpy(&high, values.data() + i + elem_bytes - sizeof high, sizeof high);
    if ((high & mask) == mask) return false;
  }
  return true;
}

// BlinkDL's shapes: mixes and the biases of the low-rank steps are [1, 1, C], r_k is [H, S].
std::vector<uint64_t> blink_shape(const WeightSpec& spec, std::string_view name,
                                  const Dimensions& dims) {
  const uint64_t rows = spec.rows / spec.names.size();
  if (spec.group != WeightGroup::kVector) {
    return spec.stored_transposed ? std::vector{spec.cols, rows} : std::vector{rows, spec.cols};
  }
  if (name.ends_with(".r_k")) return {dims.num_heads, dims.head_size};
  const std::string_view last = name.substr(name.rfind('.') + 1);
  if (last == "weight" || last == "bias") return {spec.cols};
  return {1, 1, spec.cols};
}

// "blocks.0.att.x_?" for the mixes, which ggml has in one tensor.
std::string ggml_label(const WeightSpec& spec) {
  const std::string& first = spec.names.front();
  return ggml_name_of(spec.names.size() == 1 ? first : first.substr(0, first.size() - 1) + "?");
}

// A token as Python prints bytes, which is how llama.cpp keeps RWKV's.
std::string escaped(std::string_view token) {
  std::string text;
  for (const char c : token) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\\') {
      text += "\\\\";
    } else if (c == '\t' || c == '\n' || c == '\r') {
      text += c == '\t' ? "\\t" : (c == '\n' ? "\\n" : "\\r");
    } else if (byte < 0x20 || byte >= 0x7f) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  return text;
}

// The vocabulary as llama.cpp's converter writes it: every id of the model has a token, those that
// are no text are marked so.
std::vector<GgufField> gguf_vocabulary(const std::vector<std::string>& tokens, uint32_t num_vocab) {
  constexpr int32_t kNormal = 1, kControl = 3, kUnused = 5;
  constexpr uint32_t kEndOfText = 0;
  constexpr uint32_t kBlankLine = 261;  // of World: ends a turn
  std::vector<std::string> texts;
  std::vector<int32_t> types;
  for (uint32_t id = 0; id < num_vocab; ++id) {
    const bool is_text = id < tokens.size() && !tokens[id].empty();
    texts.push_back(is_text ? escaped(tokens[id])
                            : (id == kEndOfText ? "<s>" : fmt::format("[PAD{}]", id)));
    types.push_back(is_text ? kNormal : (id == kEndOfText ? kControl : kUnused));
  }
  const bool has_blank_line = tokens.size() > kBlankLine && tokens[kBlankLine] == "\n\n";
  std::vector<GgufField> fields = {
      {"tokenizer.ggml.model", "rwkv"},
      {"tokenizer.ggml.tokens", std::move(texts)},
      {"tokenizer.ggml.token_type", std::move(types)},
      {"tokenizer.ggml.bos_token_id", kEndOfText},
      {"tokenizer.ggml.eos_token_id", kEndOfText},
      {"tokenizer.chat_template", "rwkv-world"},
  };
  if (has_blank_line) fields.push_back({"tokenizer.ggml.eot_token_id", kBlankLine});
  return fields;
}

class Converter {
 public:
  Converter(const ModelFile& source, const std::string& path, const ConvertOptions& options)
      : source_(source), path_(path), options_(options) {}

  Result<ConvertSummary> run() {
    if (source_.packed() != nullptr) {
      return error("{}: expected a model as it was trained, found one of skein pack",
                   source_.path());
    }
    Weights unused;
    const std::vector<WeightSpec> specs = list_weights(source_.dims(), unused);
    for (const WeightSpec& spec : specs) SKEIN_RETURN_IF_ERROR(plan(spec));
    SKEIN_RETURN_IF_ERROR(open_writer());
    SKEIN_ASSIGN_OR_RETURN(pool_, ThreadPool::create(1));
    for (const Output& output : outputs_) {
      SKEIN_RETURN_IF_ERROR(output.layout == stored_layout(*output.spec, source_.tensors())
                                ? write_pieces(output)
                                : write_transposed(output));
    }
    SKEIN_RETURN_IF_ERROR(std::visit([](auto& writer) { return writer->commit(); }, writer_));
    if (options_.on_progress) options_.on_progress(1.0);
    return summarize();
  }

 private:
  bool is_gguf() const { return options_.format == FileFormat::kGguf; }

  Status plan(const WeightSpec& spec) {
    std::vector<const TensorInfo*> parts;
    for (const std::string& name : spec.names) {
      SKEIN_ASSIGN_OR_RETURN(const TensorInfo* part, find_part(source_, spec, name));
      used_.insert(part);
      total_bytes_ += part->data.size();
      parts.push_back(part);
    }
    if (is_gguf()) {
      plan_gguf(spec, std::move(parts));
      return {};
    }
    for (size_t i = 0; i < parts.size(); ++i) {
      const DType dtype = options_.dtype.value_or(*plain_dtype(parts[i]->dtype));
      const std::string& name = spec.names[i];
      add(spec, {parts[i]}, name, blink_shape(spec, name, source_.dims()), dtype,
          spec.stored_transposed ? Layout::col_major() : Layout::row_major());
    }
    return {};
  }

  // As llama.cpp's own converter writes them: vectors and w1, w2 in f32; layer 0 has v0, v1, v2
  // too, which nothing reads, with the values of a0, a1, a2.
  void plan_gguf(const WeightSpec& spec, std::vector<const TensorInfo*> parts) {
    const std::string& name = spec.names.front();
    const bool is_vector = spec.group == WeightGroup::kVector;
    const bool is_exact = is_vector || name.ends_with(".w1") || name.ends_with(".w2");
    const DType dtype = is_exact ? DType::kF32 : options_.dtype.value_or(DType::kF16);
    std::vector<uint64_t> shape = {spec.rows, spec.cols};
    if (is_vector) shape = {spec.cols};
    if (spec.names.size() > 1) shape = {spec.names.size(), 1, 1, spec.cols};
    constexpr std::string_view kLayer0 = "blocks.0.att.a";
    if (name.starts_with(kLayer0) && name.size() == kLayer0.size() + 1) {
      add(spec, parts, ggml_name_of(fmt::format("blocks.0.att.v{}", name.back())), shape, dtype,
          Layout::row_major());
    }
    add(spec, std::move(parts), ggml_label(spec), shape, dtype, Layout::row_major());
  }

  void add(const WeightSpec& spec, std::vector<const TensorInfo*> parts, std::string name,
           std::vector<uint64_t> shape, DType dtype, Layout layout) {
    outputs_.push_back({&spec,
                        std::move(parts),
                        {std::move(name), file_dtype_of(dtype), std::move(shape)},
                        dtype,
                        layout});
  }

  std::vector<GgufField> gguf_metadata() const {
    const Dimensions& dims = source_.dims();
    std::vector<GgufField> fields = {
        {"general.architecture", "rwkv7"},
        {"general.type", "model"},
        {"general.name", options_.name},
        {"general.file_type",
         options_.dtype.value_or(DType::kF16) == DType::kF16 ? kFileTypeF16 : uint32_t{0}},
        {"general.quantization_version", uint32_t{2}},
        {"rwkv7.context_length", kContextLength},
        {"rwkv7.embedding_length", dims.num_emb},
        {"rwkv7.block_count", dims.num_layers},
        {"rwkv7.feed_forward_length", dims.num_hidden},
        {"rwkv7.attention.head_count", uint32_t{0}},
        {"rwkv7.attention.layer_norm_epsilon", kLayerNormEps},
        {"rwkv7.wkv.head_size", dims.head_size},
        {"rwkv7.attention.decay_lora_rank", dims.rank_w},
        {"rwkv7.attention.iclr_lora_rank", dims.rank_a},
        {"rwkv7.attention.value_residual_mix_lora_rank", dims.rank_v},
        {"rwkv7.attention.gate_lora_rank", dims.rank_g},
    };
    if (options_.tokens.empty()) return fields;
    std::vector<GgufField> vocabulary = gguf_vocabulary(options_.tokens, dims.num_vocab);
    std::move(vocabulary.begin(), vocabulary.end(), std::back_inserter(fields));
    return fields;
  }

  Status open_writer() {
    std::vector<TensorDeclaration> declarations;
    for (const Output& output : outputs_) declarations.push_back(output.declaration);
    if (is_gguf()) {
      SKEIN_ASSIGN_OR_RETURN(GgufWriter writer,
                             GgufWriter::create(path_, gguf_metadata(), declarations));
      writer_ = std::make_unique<GgufWriter>(std::move(writer));
      return {};
    }
    SKEIN_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                           SafetensorsWriter::create(path_, declarations, {{"format", "pt"}}));
    writer_ = std::make_unique<SafetensorsWriter>(std::move(writer));
    return {};
  }

  Status write(const Output& output, std::span<const std::byte> bytes) {
    return std::visit([&](auto& writer) { return writer->write(output.declaration.name, bytes); },
                      writer_);
  }

  // After every piece.
  Status go_on(std::span<const std::byte> source_bytes) {
    source_.file()->release(source_bytes);
    bytes_done_ += source_bytes.size();
    if (options_.on_progress) {
      options_.on_progress(
          std::min(1.0, static_cast<double>(bytes_done_) / static_cast<double>(total_bytes_)));
    }
    if (options_.should_stop && options_.should_stop()) return error("{}: interrupted", path_);
    return {};
  }

  Status check_finite(const TensorInfo& tensor, std::span<const std::byte> values,
                      DType dtype) const {
    if (plain_dtype(tensor.dtype) == dtype && !is_block_coded(tensor.dtype)) return {};
    if (is_finite(values, dtype)) return {};
    return error(
        "{}: tensor '{}': expected values that {} can hold, found a larger one, infinity or "
        "NaN{}",
        source_.path(), tensor.name, to_string(dtype),
        dtype == DType::kF16 ? "; --type bf16 and f32 hold larger ones" : "");
  }

  // The elements of a part, in the source's order, piece by piece.
  Status write_pieces(const Output& output) {
    std::vector<std::byte> plain, converted;
    for (const TensorInfo* part : output.parts) {
      const FileBlock block = file_dtype_block(part->dtype);
      const uint64_t step_bytes = kPieceElems / block.elems * block.bytes;
      for (uint64_t at = 0; at < part->data.size(); at += step_bytes) {
        TensorInfo piece = *part;
        piece.data = part->data.subspan(at, std::min<uint64_t>(step_bytes, part->data.size() - at));
        const PlainTensor values = read_plain(piece, output.dtype, plain, *pool_);
        std::span<const std::byte> bytes = values.bytes;
        if (values.dtype != output.dtype) {
          const uint64_t num_elems = bytes.size() * 8 / element_bits(values.dtype);
          converted.resize(num_elems * element_bits(output.dtype) / 8);
          convert_run(bytes.data(), values.dtype, converted.data(), output.dtype, num_elems);
          bytes = converted;
        }
        SKEIN_RETURN_IF_ERROR(check_finite(*part, bytes, output.dtype));
        SKEIN_RETURN_IF_ERROR(write(output, bytes));
        SKEIN_RETURN_IF_ERROR(go_on(piece.data));
      }
    }
    return {};
  }

  // Low-rank matrices only, which are small.
  Status write_transposed(const Output& output) {
    const TensorInfo& part = *output.parts.front();
    std::vector<std::byte> plain;
    const PlainTensor values = read_plain(part, output.dtype, plain, *pool_);
    const Extents extents{output.spec->rows, output.spec->cols};
    const auto from = make_mapping(stored_layout(*output.spec, source_.tensors()), extents,
                                   element_bits(values.dtype));
    const auto to = make_mapping(output.layout, extents, element_bits(output.dtype));
    CHECK(from && to);
    std::vector<std::byte> bytes(extents.num_elems() * element_bits(output.dtype) / 8);
    pack({values.bytes.data(), values.dtype, *from}, {bytes.data(), output.dtype, *to}, *pool_);
    SKEIN_RETURN_IF_ERROR(check_finite(part, bytes, output.dtype));
    SKEIN_RETURN_IF_ERROR(write(output, bytes));
    return go_on(part.data);
  }

  ConvertSummary summarize() const {
    ConvertSummary summary;
    summary.num_tensors = outputs_.size();
    std::error_code ignored;  // a device has no size
    const auto file_bytes = std::filesystem::file_size(path_, ignored);
    summary.file_bytes = ignored ? 0 : file_bytes;
    summary.warnings = warnings_of_unused(source_, used_);
    uint64_t num_decoded = 0;
    for (const TensorInfo* part : used_) num_decoded += is_block_coded(part->dtype) ? 1u : 0u;
    if (num_decoded != 0) {
      summary.warnings.push_back(
          fmt::format("{}: {} tensors were in block codecs and are decoded; --type says to what",
                      source_.path(), num_decoded));
    }
    return summary;
  }

  const ModelFile& source_;
  const std::string& path_;
  const ConvertOptions& options_;
  std::vector<Output> outputs_;  // in the order of the new file
  std::set<const TensorInfo*> used_;
  std::variant<std::unique_ptr<SafetensorsWriter>, std::unique_ptr<GgufWriter>> writer_;
  std::unique_ptr<ThreadPool> pool_;
  uint64_t total_bytes_ = 0, bytes_done_ = 0;
};

}  // namespace

Result<ConvertSummary> convert_model(const ModelFile& source, const std::string& path,
                                     const ConvertOptions& options) {
  return Converter(source, path, options).run();
}

}  // namespace skein
