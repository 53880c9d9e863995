// The WebGPU backend: the ten steps of RWKV-7 on any GPU that wgpu-native reaches (Vulkan, Metal,
// DX12), from the same layouts as on the CPU.
//
// Goals: a token is one command buffer with one compute pass of at most eight dispatches a layer,
// encoded while the GPU works on the token before; every dtype and layout through the index
// functions that layout/ emits; an error of the device is one line of finish(). Non-goals: several
// devices, training.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "skein/precision.h"

namespace skein {
namespace webgpu {
class Gpu;
}

struct WebGpuOptions {
  std::optional<uint32_t> adapter;  // of webgpu_adapters(); the best one if unset
  Precision precision = Precision::kExact;
  // For tests: as if the device had no feature, or less room. 0: its own.
  bool is_plain = false;
  bool is_hardware = false;  // the kernels of a GPU, also on a software adapter
  uint64_t max_binding_bytes = 0;
  uint64_t max_buffer_bytes = 0;
};

// Errors: no library, no adapter, one that is too small; one line each.
Result<std::unique_ptr<Backend>> make_webgpu_backend(const WebGpuOptions& options);
// On a device that is open already.
std::unique_ptr<Backend> make_webgpu_backend_on(std::shared_ptr<webgpu::Gpu> gpu);

// One line for each adapter of this machine, in the order of their numbers. WGPU_BACKEND
// (vulkan, metal, dx12, gl) leaves those of one API.
Result<std::vector<std::string>> webgpu_adapters();

// Whether one of them is no software. Errors: none is, and what there is instead; no library.
Status find_webgpu_gpu();

}  // namespace skein
