#include "layout/cuda/offsets.h"

#include <cuda_runtime.h>

#include "layout/mapping.h"

namespace skein {
namespace {

// One thread an element. The mapping travels by value, as it does into every kernel.
template <class Mapping, class Index>
__global__ void write_offsets(Mapping mapping, Index* offsets) {
  const uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const Extents extents = mapping.extents();
  if (i >= extents.num_elems()) return;
  offsets[i] = mapping(static_cast<Index>(i / extents.cols), static_cast<Index>(i % extents.cols));
}

template <class Mapping, class Index>
cudaError_t read_offsets(const Mapping& mapping, std::vector<Index>& offsets) {
  constexpr unsigned kThreads = 256;
  const uint64_t num_elems = mapping.extents().num_elems();
  offsets.resize(num_elems);
  Index* device = nullptr;
  cudaError_t status = cudaMalloc(&device, num_elems * sizeof(Index));
  if (status != cudaSuccess) return status;
  write_offsets<<<static_cast<unsigned>(ceil_div<uint64_t>(num_elems, kThreads)), kThreads>>>(
      mapping, device);
  status = cudaGetLastError();
  if (status == cudaSuccess) {
    status = cudaMemcpy(offsets.data(), device, num_elems * sizeof(Index), cudaMemcpyDeviceToHost);
  }
  cudaFree(device);
  return status;
}

}  // namespace

std::string why_no_cuda_device() {
  int num_devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&num_devices);
  if (status != cudaSuccess) return cudaGetErrorString(status);
  return num_devices == 0 ? "the runtime finds no device" : "";
}

template <class Mapping>
Offsets offsets_on_host(const Mapping& mapping) {
  Offsets offsets;
  const Extents extents = mapping.extents();
  for (uint64_t row = 0; row < extents.rows; ++row) {
    for (uint64_t col = 0; col < extents.cols; ++col) {
      offsets.narrow.push_back(mapping(static_cast<uint32_t>(row), static_cast<uint32_t>(col)));
      offsets.wide.push_back(mapping(row, col));
    }
  }
  return offsets;
}

template <class Mapping>
std::string offsets_on_device(const Mapping& mapping, Offsets& offsets) {
  cudaError_t status = read_offsets(mapping, offsets.narrow);
  if (status == cudaSuccess) status = read_offsets(mapping, offsets.wide);
  return status == cudaSuccess ? "" : cudaGetErrorString(status);
}

template Offsets offsets_on_host(const RowMajor&);
template Offsets offsets_on_host(const ColMajor&);
template Offsets offsets_on_host(const Interleave&);
template Offsets offsets_on_host(const Morton&);
template std::string offsets_on_device(const RowMajor&, Offsets&);
template std::string offsets_on_device(const ColMajor&, Offsets&);
template std::string offsets_on_device(const Interleave&, Offsets&);
template std::string offsets_on_device(const Morton&, Offsets&);

}  // namespace skein
