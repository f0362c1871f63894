#pragma once
// The inner loops of the fused GroupNorm+SiLU: no ATen here, so that this file compiles alone with its own flags, once per
// instruction set (picked when the program is loaded).
#include <cstdint>

namespace kernels {

void sums(const float* x, int64_t n, float shift, float* sum, float* squares);
void spread(const float* x, int64_t n, float shift, float* squares);
void affine(const float* x, float* y, int64_t n, float scale, float shift, bool silu);
void slopes(const float* x, const float* dy, float* dz, int64_t n, float scale, float shift, float bias, bool silu, float* s1, float* s2);
void finish(const float* x, float* dx, int64_t n, float a, float c2, float c3, float bias, float* total);
void cl_sums(const float* x, int64_t hw, int64_t c, float* sum);
void cl_spread(const float* x, int64_t hw, int64_t c, const float* shift, float* squares);
void cl_affine(const float* x, float* y, int64_t hw, int64_t c, const float* scale, const float* shift, bool silu);
void cl_slopes(const float* x, const float* dy, float* dz, int64_t hw, int64_t c, const float* scale, const float* shift, const float* bias, bool silu, float* s1, float* s2);
void cl_finish(const float* x, float* dx, int64_t hw, int64_t c, const float* a, const float* c2, const float* c3, const float* bias, float* total);

}  // namespace kernels
