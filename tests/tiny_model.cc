#include "tiny_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <set>

#include "backend/test_model.h"
#include "base/check.h"
#include "base/float16.h"
#include "format/safetensors_writer.h"

namespace skein::testing {
namespace {

// Keeps the upper bits that f16 and bf16 both have: 7 of the mantissa, none below 2^-14.
float representable(float value) {
  const float rounded = f32_from(bf16_from(value));
  return std::abs(rounded) < 0x1p-14f ? 0.0f : rounded;
}

std::vector<std::byte> encode(const TinyTensor& tensor) {
  const uint64_t element_bytes = file_dtype_bytes(tensor.dtype);
  std::vector<std::byte> bytes(tensor.values.size() * element_bytes);
  for (size_t i = 0; i < tensor.values.size(); ++i) {
    std::byte* out = bytes.data() + i * element_bytes;
    const float value = tensor.values[i];
    if (tensor.dtype == FileDType::kF32) {
      std::memcpy(out, &value, sizeof value);
    } else if (tensor.dtype == FileDType::kF16 || tensor.dtype == FileDType::kBF16) {
      const bool is_f16 = tensor.dtype == FileDType::kF16;
      const uint16_t bits = is_f16 ? f16_from(value).bits : bf16_from(value).bits;
      std::memcpy(out, &bits, sizeof bits);
    }
  }
  return bytes;
}

// Draws the tensors one by one.
class ModelMaker {
 public:
  ModelMaker(const Dimensions& dims, std::span<const FileDType> dtypes, uint64_t seed)
      : dims_(dims), dtypes_(dtypes), random_(seed) {}

  TinyModel make() {
    const uint64_t C = dims_.num_emb, N = dims_.num_vocab;
    add("emb.weight", {N, C}, 0, 0.5f);
    norm("blocks.0.ln0");
    for (uint32_t layer = 0; layer < dims_.num_layers; ++layer) add_layer(layer);
    norm("ln_out");
    matrix("head.weight", N, C);
    return std::move(model_);
  }

 private:
  void add(const std::string& name, std::vector<uint64_t> shape, float centre, float spread) {
    const uint64_t count =
        std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
    std::vector<float> values(count);
    for (float& value : values) {
      value = representable(random_.uniform(centre - spread, centre + spread));
    }
    const FileDType dtype = dtypes_[model_.tensors.size() % dtypes_.size()];
    model_.tensors.push_back({name, dtype, std::move(shape), std::move(values)});
  }

  void norm(const std::string& name) {
    add(name + ".weight", {dims_.num_emb}, 1, 0.2f);
    add(name + ".bias", {dims_.num_emb}, 0, 0.05f);
  }

  // Outputs of about the size of the inputs: the spread is sqrt(3 / inputs).
  void matrix(const std::string& name, uint64_t rows, uint64_t cols) {
    add(name, {rows, cols}, 0, std::sqrt(3.0f / static_cast<float>(cols)));
  }

  // BlinkDL's files hold vectors as [1, 1, C] and low-rank matrices as [inputs, outputs].
  void vector(const std::string& name, float centre, float spread) {
    add(name, {1, 1, dims_.num_emb}, centre, spread);
  }
  void low_rank(const std::string& att, char which, uint32_t rank) {
    const uint64_t C = dims_.num_emb;
    add(fmt::format("{}{}1", att, which), {C, rank}, 0, std::sqrt(3.0f / static_cast<float>(C)));
    add(fmt::format("{}{}2", att, which), {rank, C}, 0, std::sqrt(3.0f / static_cast<float>(rank)));
  }

  void add_layer(uint32_t layer) {
    const uint64_t C = dims_.num_emb, F = dims_.num_hidden;
    const std::string block = fmt::format("blocks.{}.", layer), att = block + "att.";
    norm(block + "ln1");
    norm(block + "ln2");
    for (const char mix : {'r', 'w', 'k', 'v', 'a', 'g'}) vector(att + "x_" + mix, 0.5f, 0.5f);
    vector(att + "w0", -3.5f, 2.5f);
    vector(att + "a0", 0, 1);
    low_rank(att, 'w', dims_.rank_w);
    low_rank(att, 'a', dims_.rank_a);
    low_rank(att, 'g', dims_.rank_g);
    if (layer > 0) {
      vector(att + "v0", 1, 0.5f);
      low_rank(att, 'v', dims_.rank_v);
    }
    vector(att + "k_k", 0.85f, 0.15f);
    vector(att + "k_a", 1, 0.2f);
    add(att + "r_k", {dims_.num_heads, dims_.head_size}, 0, 0.2f);
    norm(att + "ln_x");
    for (const char* name : {"receptance", "key", "value", "output"}) {
      matrix(fmt::format("{}{}.weight", att, name), C, C);
    }
    vector(block + "ffn.x_k", 0.5f, 0.5f);
    matrix(block + "ffn.key.weight", F, C);
    matrix(block + "ffn.value.weight", C, F);
  }

  const Dimensions& dims_;
  std::span<const FileDType> dtypes_;
  Random random_;
  TinyModel model_;
};

// LN without weight and bias, as the reciter's head sees an embedding.
std::vector<float> normalized(std::span<const float> row) {
  const auto count = static_cast<float>(row.size());
  const float mean = std::accumulate(row.begin(), row.end(), 0.0f) / count;
  float variance = 0;
  for (const float value : row) variance += (value - mean) * (value - mean) / count;
  std::vector<float> result;
  for (const float value : row) {
    result.push_back((value - mean) / std::sqrt(variance + kLayerNormEps));
  }
  return result;
}

}  // namespace

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  CHECK(file.flush().good());
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  CHECK(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

TinyTensor& TinyModel::at(std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const TinyTensor& tensor) { return tensor.name == name; });
  CHECK(found != tensors.end());
  return *found;
}

void TinyModel::erase(std::string_view name) {
  CHECK(std::erase_if(tensors, [&](const TinyTensor& tensor) { return tensor.name == name; }) == 1);
}

void TinyModel::write(const std::string& path) const {
  std::vector<TensorDeclaration> declarations;
  for (const TinyTensor& tensor : tensors) {
    declarations.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  auto writer = SafetensorsWriter::create(path, declarations);
  CHECK(writer.has_value());
  for (const TinyTensor& tensor : tensors) {
    CHECK(writer->write(tensor.name, encode(tensor)).has_value());
  }
  CHECK(writer->commit().has_value());
}

Dimensions tiny_dimensions(uint32_t num_emb, uint32_t num_vocab, uint32_t num_layers) {
  Dimensions dims;
  dims.num_layers = num_layers;
  dims.num_emb = num_emb;
  dims.num_hidden = 4 * num_emb;
  dims.num_heads = num_emb / 64;
  dims.head_size = 64;
  dims.num_vocab = num_vocab;
  dims.rank_w = 33;
  dims.rank_a = 7;
  dims.rank_v = num_layers > 1 ? 20 : 0;
  dims.rank_g = 50;
  return dims;
}

TinyModel random_model(const Dimensions& dims, std::span<const FileDType> dtypes, uint64_t seed) {
  return ModelMaker(dims, dtypes, seed).make();
}

std::string vocabulary_text(std::span<const std::string> tokens) {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    text += fmt::format("{} b'", i + 1);
    for (const char c : tokens[i]) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    text += fmt::format("' {}\n", tokens[i].size());
  }
  return text;
}

Reciter make_reciter(std::span<const std::string> script) {
  std::vector<std::string> tokens(script.begin(), script.end());
  std::set<std::string> known(script.begin(), script.end());
  CHECK(known.size() == script.size());
  for (int byte = 0; byte < 256; ++byte) {
    const std::string token(1, static_cast<char>(byte));
    if (known.insert(token).second) tokens.push_back(token);
  }
  const auto num_vocab = static_cast<uint32_t>(tokens.size() + 1);

  // 128 channels: of some 300 random directions each is far closer to itself than to any other.
  const Dimensions dims = tiny_dimensions(128, num_vocab, 2);
  const FileDType f32 = FileDType::kF32;
  Reciter reciter{random_model(dims, {&f32, 1}, 11), vocabulary_text(tokens)};
  // Layers that add nothing to the residual stream, while their states go on.
  for (const char* name : {"blocks.0.att.output.weight", "blocks.1.att.output.weight",
                           "blocks.0.ffn.value.weight", "blocks.1.ffn.value.weight"}) {
    std::ranges::fill(reciter.model.at(name).values, 0.0f);
  }
  for (const char* norm : {"blocks.0.ln0", "ln_out"}) {
    std::ranges::fill(reciter.model.at(fmt::format("{}.weight", norm)).values, 1.0f);
    std::ranges::fill(reciter.model.at(fmt::format("{}.bias", norm)).values, 0.0f);
  }
  std::vector<float>& head = reciter.model.at("head.weight").values;
  const std::vector<float>& emb = reciter.model.at("emb.weight").values;
  std::ranges::fill(head, 0.0f);
  // Id 0 and the script's ids 1, 2, ... lead to the next; its last leads to 0.
  for (uint32_t id = 0; id <= script.size(); ++id) {
    const uint32_t next = id < script.size() ? id + 1 : 0;
    const auto direction = normalized(std::span(emb).subspan(id * dims.num_emb, dims.num_emb));
    std::ranges::copy(direction, head.begin() + next * dims.num_emb);
  }
  return reciter;
}

}  // namespace skein::testing
