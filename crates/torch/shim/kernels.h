#pragma once
// The inner loops of the fused GroupNorm+SiLU: no ATen here, so that this file compiles alone with its own flags, once per
// instruction set (picked when the program is loaded).
#include <cstdint>

namespace kernels {

// The upper half of an f32.
struct Bf16 {
  uint16_t bits;
};

// Images and their gradients are f32 or bf16; all sums, and dz on its way from `slopes` to `finish`, are f32. In f32 `dz` may be `dx`.
#define KERNELS(T)                                                                                                         \
  void sums(const T* x, int64_t n, float shift, float* sum, float* squares);                                               \
  void spread(const T* x, int64_t n, float shift, float* squares);                                                         \
  void affine(const T* x, T* y, int64_t n, float scale, float shift, bool silu);                                           \
  void slopes(const T* x, const T* dy, float* dz, int64_t n, float scale, float shift, float bias, bool silu, float* s1,   \
              float* s2);                                                                                                  \
  void finish(const T* x, const float* dz, T* dx, int64_t n, float a, float c2, float c3, float bias, float* total);       \
  void cl_sums(const T* x, int64_t hw, int64_t c, float* sum);                                                             \
  void cl_spread(const T* x, int64_t hw, int64_t c, const float* shift, float* squares);                                   \
  void cl_affine(const T* x, T* y, int64_t hw, int64_t c, const float* scale, const float* shift, bool silu);              \
  void cl_slopes(const T* x, const T* dy, float* dz, int64_t hw, int64_t c, const float* scale, const float* shift,        \
                 const float* bias, bool silu, float* s1, float* s2);                                                      \
  void cl_finish(const T* x, const float* dz, T* dx, int64_t hw, int64_t c, const float* a, const float* c2,               \
                 const float* c3, const float* bias, float* total);
KERNELS(float)
KERNELS(Bf16)
#undef KERNELS

}  // namespace kernels
