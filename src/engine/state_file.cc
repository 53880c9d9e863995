#include "engine/state_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>

#include "base/hash.h"
#include "format/safetensors_header.h"
#include "format/safetensors_writer.h"
#include "format/tensor_file.h"
#include "model/dimensions.h"
#include "model/plain_tensor.h"
#include "tensor/pack_kernels.h"

namespace skein::internal {
namespace {

constexpr std::string_view kFormat = "skein-state";
constexpr std::string_view kVersion = "1";
constexpr StateLayout kFileLayout = StateLayout::kKeyRows;

// Every layer of a one-slot state from one layout to another.
void convert_state(const State& shape, StateLayout from, std::span<const float> source,
                   StateLayout to, std::span<float> target) {
  StateMapping from_mapping = shape.mapping, to_mapping = shape.mapping;
  from_mapping.layout = from;
  to_mapping.layout = to;
  for (uint32_t layer = 0; layer < shape.num_layers; ++layer) {
    const uint64_t offset = shape.offset_elems(layer, 0);
    convert_state_layer(from_mapping, source.data() + offset, to_mapping, target.data() + offset);
  }
}

std::vector<uint64_t> state_shape(const State& state) {
  return {state.num_layers, state.mapping.head_size + 2u, state.mapping.num_emb()};
}

// The metadata value of `key`; what is missing counts as empty.
std::string value_of(const TensorFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? std::string() : found->second;
}

Status expect(const std::string& path, std::string_view what, std::string_view expected,
              std::string_view found) {
  if (expected == found) return {};
  // Metadata may hold anything, line ends too.
  return error("{}: expected {} {}, found {}", path, what, expected,
               found.empty() ? "none" : quote_name(found));
}

// The f32 tensor `name` of `shape` as floats, all of them finite.
Result<std::vector<float>> read_floats(const TensorFile& file, const std::string& path,
                                       std::string_view name, const std::vector<uint64_t>& shape) {
  const TensorInfo* tensor = file.find(name);
  if (tensor == nullptr) return error("{}: expected a tensor '{}', found none", path, name);
  if (tensor->dtype != FileDType::kF32 || tensor->shape != shape) {
    return error("{}: tensor '{}': expected F32 {}, found {} {}", path, name, shape_text(shape),
                 file_dtype_name(tensor->dtype), shape_text(tensor->shape));
  }
  std::vector<float> values(tensor->data.size() / sizeof(float));
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  for (float value : values) {
    if (!std::isfinite(value))
      return error("{}: tensor '{}': expected finite values, found {}", path, name, value);
  }
  return values;
}

std::string time_state_name(uint32_t layer) {
  return fmt::format("blocks.{}.att.time_state", layer);
}

// The matrices of all layers in the layout that the file has them in; shift rows are zero.
Result<std::vector<float>> read_time_states(const State& state, const TensorFile& file,
                                            const std::string& path) {
  const std::vector<uint64_t> shape = {state.mapping.num_heads, state.mapping.head_size,
                                       state.mapping.head_size};
  if (file.tensors().size() != state.num_layers) {
    return error("{}: expected a time_state for each of {} layers, found {} tensors", path,
                 state.num_layers, file.tensors().size());
  }
  std::vector<float> values(state.num_elems());
  for (uint32_t layer = 0; layer < state.num_layers; ++layer) {
    const std::string name = time_state_name(layer);
    const TensorInfo* tensor = file.find(name);
    if (tensor == nullptr) return error("{}: expected a tensor '{}', found none", path, name);
    const std::optional<DType> dtype = plain_dtype(tensor->dtype);
    if (!dtype || is_block_coded(tensor->dtype) || tensor->shape != shape) {
      return error("{}: tensor '{}': expected F32, F16 or BF16 {}, found {} {}", path, name,
                   shape_text(shape), file_dtype_name(tensor->dtype), shape_text(tensor->shape));
    }
    const std::span<float> matrices(
        values.data() + state.offset_elems(layer, 0) + state.mapping.num_emb(),
        state.mapping.num_emb() * state.mapping.head_size);
    auto* bytes = reinterpret_cast<std::byte*>(matrices.data());
    if (*dtype == DType::kF32) {
      std::memcpy(bytes, tensor->data.data(), tensor->data.size());
    } else {
      convert_run(tensor->data.data(), *dtype, bytes, DType::kF32, matrices.size());
    }
    if (!std::all_of(matrices.begin(), matrices.end(), [](float x) { return std::isfinite(x); })) {
      return error("{}: tensor '{}': expected finite values, found others", path, name);
    }
  }
  return values;
}

Status restore_tuned_state(SessionImpl& session, const TensorFile& file, const std::string& path) {
  const State& state = session.state;
  SKEIN_ASSIGN_OR_RETURN(const std::vector<float> values, read_time_states(state, file, path));
  const StateLayout layout =
      file.format() == FileFormat::kPth ? StateLayout::kHeadValueKey : StateLayout::kHeadKeyValue;
  std::vector<float> native(values.size());
  convert_state(state, layout, values, state.mapping.layout, native);
  SKEIN_RETURN_IF_ERROR(
      session.rwkv7().backend().upload(*state.buffer, 0, std::as_bytes(std::span(native))));
  session.initial = std::move(native);
  session.num_tokens = 0;
  session.logits.clear();
  return {};
}

}  // namespace

Status save_state(const SessionImpl& session, const std::string& path) {
  const State& state = session.state;
  std::vector<float> native(state.num_elems()), values(native.size());
  SKEIN_RETURN_IF_ERROR(session.rwkv7().backend().download(
      *state.buffer, 0, std::as_writable_bytes(std::span(native))));
  convert_state(state, state.mapping.layout, native, kFileLayout, values);

  std::vector<TensorDeclaration> tensors = {{"state", FileDType::kF32, state_shape(state)}};
  if (!session.logits.empty())
    tensors.push_back({"logits", FileDType::kF32, {session.logits.size()}});
  const std::map<std::string, std::string> metadata = {
      {"format", std::string(kFormat)},
      {"version", std::string(kVersion)},
      {"state_layout", std::string(to_string(kFileLayout))},
      {"model_hash", hash_text(session.rwkv7().hash())},
      {"num_tokens", std::to_string(session.num_tokens)},
  };
  SKEIN_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                         SafetensorsWriter::create(path, tensors, metadata));
  SKEIN_RETURN_IF_ERROR(writer.write("state", std::as_bytes(std::span(values))));
  if (!session.logits.empty()) {
    SKEIN_RETURN_IF_ERROR(writer.write("logits", std::as_bytes(std::span(session.logits))));
  }
  return writer.commit();
}

Status restore_state(SessionImpl& session, const std::string& path) {
  SKEIN_ASSIGN_OR_RETURN(const TensorFile file, TensorFile::open(path));
  if (file.find(time_state_name(0)) != nullptr) return restore_tuned_state(session, file, path);
  SKEIN_RETURN_IF_ERROR(expect(path, "the format", kFormat, value_of(file, "format")));
  SKEIN_RETURN_IF_ERROR(expect(path, "version", kVersion, value_of(file, "version")));
  SKEIN_RETURN_IF_ERROR(
      expect(path, "the state layout", to_string(kFileLayout), value_of(file, "state_layout")));
  SKEIN_RETURN_IF_ERROR(expect(path, "the state of model", hash_text(session.rwkv7().hash()),
                               value_of(file, "model_hash")));
  const std::string count = value_of(file, "num_tokens");
  uint64_t num_tokens = 0;
  const auto [end, code] = std::from_chars(count.data(), count.data() + count.size(), num_tokens);
  if (code != std::errc() || end != count.data() + count.size()) {
    return error("{}: expected a number of tokens, found {}", path, quote_name(count));
  }
  const State& state = session.state;
  SKEIN_ASSIGN_OR_RETURN(const std::vector<float> values,
                         read_floats(file, path, "state", state_shape(state)));
  std::vector<float> logits;
  if (num_tokens != 0) {
    SKEIN_ASSIGN_OR_RETURN(logits,
                           read_floats(file, path, "logits", {session.rwkv7().dims().num_vocab}));
  }
  std::vector<float> native(values.size());
  convert_state(state, kFileLayout, values, state.mapping.layout, native);
  SKEIN_RETURN_IF_ERROR(
      session.rwkv7().backend().upload(*state.buffer, 0, std::as_bytes(std::span(native))));
  session.num_tokens = num_tokens;
  session.logits = std::move(logits);
  session.logits_place.reset();
  return {};
}

}  // namespace skein::internal
