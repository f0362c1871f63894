// What tch does not expose: autocast with a dtype on CPU, fused and multi-tensor optimiser steps.
// Every function catches C++ exceptions and returns 0 on success, 1 on failure with the text in dm_last_error().
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Generator.h>
#include <c10/core/GradMode.h>
#include <dlfcn.h>

#include <mutex>
#include <string>
#include <vector>

#include "group_norm_silu.h"

using at::Tensor;

static thread_local std::string last_error;

template <class F>
static int guarded(F&& f) {
  try {
    f();
    return 0;
  } catch (const std::exception& e) {
    last_error = e.what();
    return 1;
  }
}

static std::vector<Tensor> list(Tensor* const* tensors, size_t n) {
  std::vector<Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; i++) out.push_back(*tensors[i]);
  return out;
}

extern "C" {

const char* dm_last_error() { return last_error.c_str(); }

int dm_autocast_begin(int cuda, int* was_enabled) {
  return guarded([&] {
    auto device = cuda ? at::kCUDA : at::kCPU;
    *was_enabled = at::autocast::is_autocast_enabled(device);
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_cache_enabled(true);
    at::autocast::increment_nesting();
  });
}

int dm_autocast_end(int cuda, int was_enabled) {
  return guarded([&] {
    // The cache holds bf16 copies of the weights; it must not outlive the step that changes them.
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(cuda ? at::kCUDA : at::kCPU, was_enabled != 0);
  });
}

// Adam with decoupled (adamw != 0) or L2 weight decay. `step` is a 0-d f32 tensor, incremented here.
int dm_fused_adam(Tensor** params, Tensor** grads, Tensor** exp_avg, Tensor** exp_avg_sq, size_t n, Tensor* step,
                  double lr, double beta1, double beta2, double weight_decay, double eps, int adamw) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    step->add_(1);
    auto p = list(params, n), g = list(grads, n), m = list(exp_avg, n), v = list(exp_avg_sq, n);
    std::vector<Tensor> steps(n, *step), none;
    if (adamw)
      at::_fused_adamw_(p, g, m, v, none, steps, lr, beta1, beta2, weight_decay, eps, false, false);
    else
      at::_fused_adam_(p, g, m, v, none, steps, lr, beta1, beta2, weight_decay, eps, false, false);
  });
}

// target += weight * (source - target), for every pair.
int dm_foreach_lerp(Tensor** target, Tensor** source, size_t n, double weight) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    auto t = list(target, n), s = list(source, n);
    at::_foreach_lerp_(t, s, weight);
  });
}

// The global L2 norm of all gradients; scales them in place when it exceeds max_norm (max_norm <= 0: never).
// Same formula as torch.nn.utils.clip_grad_norm_: coefficient = max_norm / (norm + 1e-6), clamped to 1.
int dm_clip_grad_norm(Tensor** grads, size_t n, double max_norm, double* total) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    auto g = list(grads, n);
    auto norms = at::_foreach_norm(g, 2);
    *total = at::stack(norms).norm().item<double>();
    if (max_norm > 0 && *total > max_norm) at::_foreach_mul_(g, at::Scalar(max_norm / (*total + 1e-6)));
  });
}

int dm_channels_last(Tensor* t) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    t->set_data(t->contiguous(at::MemoryFormat::ChannelsLast));
  });
}

int dm_to_channels_last(Tensor* t, Tensor** out) {
  return guarded([&] { *out = new Tensor(t->contiguous(at::MemoryFormat::ChannelsLast)); });
}

int dm_group_norm_silu(Tensor* x, Tensor* add, Tensor* weight, Tensor* beta, int64_t groups, double eps, int silu,
                       Tensor** out) {
  return guarded([&] {
    *out = new Tensor(group_norm_silu(*x, add ? *add : Tensor(), *weight, *beta, groups, eps, silu != 0));
  });
}

// State of libtorch's own generator, which dropout draws from; `cuda` is the index of a GPU, or -1 for the CPU.
static at::Generator generator(int cuda) {
  return at::globalContext().defaultGenerator(cuda < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, cuda));
}

int dm_generator_state(int cuda, Tensor** out) {
  return guarded([&] {
    auto g = generator(cuda);
    std::lock_guard<std::mutex> lock(g.mutex());
    *out = new Tensor(g.get_state());
  });
}

int dm_set_generator_state(int cuda, Tensor* state) {
  return guarded([&] {
    auto g = generator(cuda);
    std::lock_guard<std::mutex> lock(g.mutex());
    g.set_state(*state);
  });
}

// Loads libtorch's CUDA half, which registers its kernels. A linker drops the library (no symbol of it is used
// directly), so it is loaded by name; returns 1 if this libtorch has none.
int dm_load_cuda() { return dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr; }

int dm_allow_tf32(int on) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuBLAS(on != 0);
    at::globalContext().setAllowTF32CuDNN(on != 0);
  });
}
}
