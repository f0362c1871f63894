// What tch does not expose: autocast with a dtype on CPU, fused and multi-tensor optimiser steps.
// Every function catches C++ exceptions and returns 0 on success, 1 on failure with the text in dm_last_error().
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Generator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>

#include <cmath>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "group_norm_silu.h"
#include "profile.h"

using at::Tensor;

static thread_local std::string last_error;

template <class F>
static int guarded(F&& f) {
  try {
    f();
    return 0;
  } catch (const c10::Error& e) {
    // Without the backtrace, which says nothing to a user.
    last_error = e.what_without_backtrace();
  } catch (const std::exception& e) {
    last_error = e.what();
  } catch (...) {
    last_error = "an exception without a text";
  }
  return 1;
}

static const Tensor& given(const Tensor* t, const char* what) {
  TORCH_CHECK(t != nullptr && t->defined(), what, " is no tensor");
  return *t;
}

static std::vector<Tensor> list(Tensor* const* tensors, size_t n, const char* what) {
  std::vector<Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; i++) out.push_back(given(tensors[i], what));
  return out;
}

// Element k of one is element k of the other in memory: equal sizes and, but for axes of one element, equal strides.
static bool same_layout(const Tensor& a, const Tensor& b) {
  if (!a.is_non_overlapping_and_dense() || !b.is_non_overlapping_and_dense() || a.sizes() != b.sizes()) return false;
  for (int64_t d = 0; d < a.dim(); d++)
    if (a.size(d) != 1 && a.stride(d) != b.stride(d)) return false;
  return true;
}

static void check_alike(const Tensor& a, const Tensor& b, const char* what, size_t i) {
  TORCH_CHECK(a.sizes() == b.sizes(), what, " ", i, " has shape ", b.sizes(), ", the weight ", a.sizes());
  TORCH_CHECK(a.device() == b.device(), what, " ", i, " is on ", b.device(), ", the weight on ", a.device());
  TORCH_CHECK(a.layout() == at::kStrided && b.layout() == at::kStrided, what, " ", i, " is sparse");
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
    TORCH_CHECK(given(step, "Adam's step").numel() == 1 && step->scalar_type() == at::kFloat, "Adam's step must be one f32");
    auto p = list(params, n, "a parameter"), g = list(grads, n, "a gradient"), m = list(exp_avg, n, "a first moment"),
         v = list(exp_avg_sq, n, "a second moment");
    // libtorch's CPU kernel walks over raw memory and compares nothing.
    for (size_t i = 0; i < n; i++) {
      check_alike(p[i], g[i], "Adam: gradient", i);
      check_alike(p[i], m[i], "Adam: first moment", i);
      check_alike(p[i], v[i], "Adam: second moment", i);
      for (const Tensor* t : {&p[i], &g[i], &m[i], &v[i]})
        TORCH_CHECK(t->scalar_type() == at::kFloat, "Adam: tensor ", i, " is ", t->scalar_type(), ", not f32");
      // A gradient is only read, so that a copy in the weight's layout does; moments are written.
      if (!same_layout(p[i], g[i])) g[i] = at::empty_like(p[i]).copy_(g[i]);
      TORCH_CHECK(same_layout(p[i], m[i]) && same_layout(p[i], v[i]), "Adam: the moments of weight ", i,
                  " lie in memory in another order than the weight");
    }
    step->add_(1);
    if (n == 0) return;
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
    auto t = list(target, n, "an average"), s = list(source, n, "a weight");
    for (size_t i = 0; i < n; i++) check_alike(t[i], s[i], "EMA: average", i);
    if (n == 0) return;
    at::_foreach_lerp_(t, s, weight);
  });
}

// The global L2 norm of all gradients; scales them in place when it exceeds max_norm (max_norm <= 0: never).
// Same formula as torch.nn.utils.clip_grad_norm_: coefficient = max_norm / (norm + 1e-6), clamped to 1.
int dm_clip_grad_norm(Tensor** grads, size_t n, double max_norm, double* total) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    TORCH_CHECK(std::isfinite(max_norm), "a largest norm of ", max_norm);
    auto g = list(grads, n, "a gradient");
    *total = 0;
    if (n == 0) return;
    auto norms = at::_foreach_norm(g, 2);
    *total = at::stack(norms).norm().item<double>();
    if (max_norm > 0 && *total > max_norm) at::_foreach_mul_(g, at::Scalar(max_norm / (*total + 1e-6)));
  });
}

// The same for gradients on a GPU: the norm stays there, as one f32, and so does the decision whether to scale. Nothing waits for the
// device. Bit for bit what dm_clip_grad_norm does: the factor is an f64 that is rounded once, and a factor of 1 changes nothing.
int dm_clip_grad_norm_there(Tensor** grads, size_t n, double max_norm, Tensor** total) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    TORCH_CHECK(std::isfinite(max_norm), "a largest norm of ", max_norm);
    TORCH_CHECK(n > 0, "a norm of no gradients");
    auto g = list(grads, n, "a gradient");
    Tensor norm = at::stack(at::_foreach_norm(g, 2)).norm();
    if (max_norm > 0) {
      Tensor wide = norm.to(at::kDouble);
      Tensor factor = at::full_like(wide, max_norm).div(wide.add(1e-6));
      Tensor scale = at::where(wide.gt(max_norm), factor, at::ones_like(wide)).to(at::kFloat);
      at::_foreach_mul_(g, scale);
    }
    *total = new Tensor(norm);
  });
}

// A tensor of the processor's on a GPU, by way of pinned memory and without waiting for it: the copy takes its turn among the GPU's work.
// libtorch keeps the pinned block until the copy is through.
int dm_bring(Tensor* t, int cuda, Tensor** out) {
  return guarded([&] {
    at::Device there(at::kCUDA, static_cast<c10::DeviceIndex>(cuda));
    const Tensor& here = given(t, "x");
    *out = new Tensor(here.pin_memory().to(there, here.scalar_type(), /*non_blocking=*/true));
  });
}

// Bytes of a GPU's memory that nobody uses, and all of them.
int dm_memory(int cuda, uint64_t* unused, uint64_t* all) {
  return guarded([&] {
    auto both = c10::getDeviceAllocator(at::kCUDA)->getMemoryInfo(static_cast<c10::DeviceIndex>(cuda));
    *unused = both.first;
    *all = both.second;
  });
}

// Whether GPUs may round the factors of f32 products to TF32: matrix products and convolutions, in all threads of the process.
int dm_allow_tf32(int on) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuBLAS(on != 0);
    at::globalContext().setAllowTF32CuDNN(on != 0);
  });
}

int dm_to_channels_last(Tensor* t, Tensor** out) {
  return guarded([&] {
    TORCH_CHECK(given(t, "x").dim() == 4, "channels-last memory is for 4 axes, got ", t->sizes());
    *out = new Tensor(t->contiguous(at::MemoryFormat::ChannelsLast));
  });
}

int dm_group_norm_silu(Tensor* x, Tensor* add, Tensor* weight, Tensor* beta, int64_t groups, double eps, int silu,
                       Tensor** out) {
  return guarded([&] {
    *out = new Tensor(group_norm_silu(given(x, "x"), add ? given(add, "add") : Tensor(), given(weight, "weight"),
                                      given(beta, "beta"), groups, eps, silu != 0));
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
    g.set_state(given(state, "the state"));
  });
}

int dm_profile_begin() { return guarded([] { profile_begin(); }); }

int dm_profile_end(const char** text) { return guarded([&] { *text = profile_end(); }); }

// Loads libtorch's CUDA half, which registers its kernels. A linker drops the library (no symbol of it is used
// directly), so it is loaded by name; returns 1 if this libtorch has none.
int dm_load_cuda() { return dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr; }
}
