#include "kernels.h"

#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE
#endif
#define INLINE static inline __attribute__((always_inline))

namespace kernels {

// exp to about 1e-7 relative, in a form that compilers vectorise (Cephes' polynomial, exponent by bits).
INLINE float exp_fast(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  // Adding and taking away 1.5 * 2^23 rounds to the nearest integer on every instruction set.
  float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  float e = p * r * r + r + 1.0f;
  int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, 4);
  return e * scale;
}

INLINE float sigmoid(float z) { return 1.0f / (1.0f + exp_fast(-z)); }

// dy -> dz through SiLU.
INLINE float silu_slope(float z) {
  float s = sigmoid(z);
  return s * (1.0f + z * (1.0f - s));
}

// ---- NCHW: the pixels of one channel are contiguous ------------------------------------------------------------------

WIDE void sums(const float* x, int64_t n, float shift, float* sum, float* squares) {
  float a = 0, b = 0;
#pragma omp simd reduction(+ : a, b)
  for (int64_t i = 0; i < n; i++) {
    float v = x[i] + shift;
    a += v;
    b += v * v;
  }
  *sum = a;
  *squares = b;
}

WIDE void spread(const float* x, int64_t n, float shift, float* squares) {
  float b = 0;
#pragma omp simd reduction(+ : b)
  for (int64_t i = 0; i < n; i++) {
    float v = x[i] + shift;
    b += v * v;
  }
  *squares = b;
}

WIDE void affine(const float* x, float* y, int64_t n, float scale, float shift, bool silu) {
  if (silu) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
      float z = x[i] * scale + shift;
      y[i] = z * sigmoid(z);
    }
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * scale + shift;
  }
}

// Writes dz over dx; returns sum dz and sum dz u.
WIDE void slopes(const float* x, const float* dy, float* dz, int64_t n, float scale, float shift, float bias, bool silu,
                 float* s1, float* s2) {
  float a = 0, b = 0;
  if (silu) {
#pragma omp simd reduction(+ : a, b)
    for (int64_t i = 0; i < n; i++) {
      float d = dy[i] * silu_slope(x[i] * scale + shift);
      dz[i] = d;
      a += d;
      b += d * (x[i] + bias);
    }
  } else {
#pragma omp simd reduction(+ : a, b)
    for (int64_t i = 0; i < n; i++) {
      float d = dy[i];
      dz[i] = d;
      a += d;
      b += d * (x[i] + bias);
    }
  }
  *s1 = a;
  *s2 = b;
}

WIDE void finish(const float* x, float* dx, int64_t n, float a, float c2, float c3, float bias, float* total) {
  float t = 0;
#pragma omp simd reduction(+ : t)
  for (int64_t i = 0; i < n; i++) {
    float d = a * dx[i] + c2 * (x[i] + bias) + c3;
    dx[i] = d;
    t += d;
  }
  *total = t;
}

// ---- channels-last: the channels of one pixel are contiguous ---------------------------------------------------------

WIDE void cl_sums(const float* x, int64_t hw, int64_t c, float* sum) {
  for (int64_t p = 0; p < hw; p++)
#pragma omp simd
    for (int64_t j = 0; j < c; j++) sum[j] += x[p * c + j];
}

WIDE void cl_spread(const float* x, int64_t hw, int64_t c, const float* shift, float* squares) {
  for (int64_t p = 0; p < hw; p++)
#pragma omp simd
    for (int64_t j = 0; j < c; j++) {
      float v = x[p * c + j] + shift[j];
      squares[j] += v * v;
    }
}

WIDE void cl_affine(const float* x, float* y, int64_t hw, int64_t c, const float* scale, const float* shift, bool silu) {
  for (int64_t p = 0; p < hw; p++) {
    const float* a = x + p * c;
    float* b = y + p * c;
    if (silu) {
#pragma omp simd
      for (int64_t j = 0; j < c; j++) {
        float z = a[j] * scale[j] + shift[j];
        b[j] = z * sigmoid(z);
      }
    } else {
#pragma omp simd
      for (int64_t j = 0; j < c; j++) b[j] = a[j] * scale[j] + shift[j];
    }
  }
}

WIDE void cl_slopes(const float* x, const float* dy, float* dz, int64_t hw, int64_t c, const float* scale,
                    const float* shift, const float* bias, bool silu, float* s1, float* s2) {
  for (int64_t p = 0; p < hw; p++) {
    const float* a = x + p * c;
    const float* g = dy + p * c;
    float* d = dz + p * c;
#pragma omp simd
    for (int64_t j = 0; j < c; j++) {
      float v = silu ? g[j] * silu_slope(a[j] * scale[j] + shift[j]) : g[j];
      d[j] = v;
      s1[j] += v;
      s2[j] += v * (a[j] + bias[j]);
    }
  }
}

WIDE void cl_finish(const float* x, float* dx, int64_t hw, int64_t c, const float* a, const float* c2, const float* c3,
                    const float* bias, float* total) {
  for (int64_t p = 0; p < hw; p++)
#pragma omp simd
    for (int64_t j = 0; j < c; j++) {
      float d = a[j] * dx[p * c + j] + c2[j] * (x[p * c + j] + bias[j]) + c3[j];
      dx[p * c + j] = d;
      total[j] += d;
    }
}

}  // namespace kernels
