#include "model/quant_error.h"

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "model/model_file.h"
#include "model/packed_header.h"
#include "model/plain_tensor.h"
#include "tensor/pack.h"

namespace skein {
namespace {

// In row order.
Result<std::vector<float>> values_of(const ConstHostMatrix& matrix, ThreadPool& pool) {
  const Extents extents = matrix.mapping.extents();
  SKEIN_ASSIGN_OR_RETURN(const AnyMapping rows, make_mapping(Layout::row_major(), extents, 32));
  std::vector<float> values(extents.num_elems());
  pack(matrix, {reinterpret_cast<std::byte*>(values.data()), DType::kF32, rows}, pool);
  return values;
}

QuantError compare(const WeightSpec& spec, const std::vector<float>& want,
                   const std::vector<float>& got) {
  double error = 0, norm = 0, most = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double w = static_cast<double>(want[i]);
    const double difference = std::fabs(static_cast<double>(got[i]) - w);
    error += difference * difference;
    norm += w * w;
    most = std::max(most, difference);
  }
  const Tensor& tensor = *spec.target;
  return {spec.label(), tensor.dtype(), norm == 0 ? 0 : std::sqrt(error / norm), most,
          8.0 * static_cast<double>(tensor.span_bytes()) / static_cast<double>(tensor.num_elems())};
}

}  // namespace

Result<std::vector<QuantError>> measure_quant_error(const Rwkv7& model, const std::string& path,
                                                    uint32_t num_threads) {
  if (model.has_neuron_order()) {
    return error("{}: expected neurons in the file's order, found them in another", path);
  }
  SKEIN_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::open(path));
  if (file.packed() != nullptr) {
    return error(
        "{}: expected a model whose values are still there to compare with, found a packed one",
        path);
  }
  SKEIN_ASSIGN_OR_RETURN(const auto pool, ThreadPool::create(num_threads));
  Weights weights = model.weights();
  std::vector<QuantError> errors;
  for (const WeightSpec& spec : list_weights(model.dims(), weights)) {
    if (!*spec.target || !is_quantized(spec.target->dtype())) continue;
    const TensorInfo* part = file.tensors().find(spec.names.front());
    std::vector<std::byte> room;
    PlainTensor plain;
    if (part != nullptr && plain_dtype(part->dtype)) {
      plain = read_plain(*part, DType::kF32, room, *pool);
    }
    if (plain.bytes.size() != spec.rows * spec.cols * element_bits(plain.dtype) / 8) {
      return error("{}: tensor '{}': expected it as it was loaded, found that the file has changed",
                   path, spec.label());
    }
    if (spec.target->buffer()->host_data() == nullptr) {
      return error("{}: expected weights in host memory, found them on {}", path,
                   model.backend().description());
    }
    const bool is_transposed = spec.stored_transposed && !file.tensors().low_rank_is_rows();
    const Layout layout = is_transposed ? Layout::col_major() : Layout::row_major();
    SKEIN_ASSIGN_OR_RETURN(const AnyMapping mapping,
                           make_mapping(layout, {spec.rows, spec.cols}, element_bits(plain.dtype)));
    SKEIN_ASSIGN_OR_RETURN(const std::vector<float> want,
                           values_of({plain.bytes.data(), plain.dtype, mapping}, *pool));
    SKEIN_ASSIGN_OR_RETURN(const std::vector<float> got,
                           values_of(host_matrix(*spec.target), *pool));
    errors.push_back(compare(spec, want, got));
  }
  return errors;
}

}  // namespace skein
