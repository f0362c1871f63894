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

INLINE float load(const float* x, int64_t i) { return x[i]; }
INLINE void store(float* x, int64_t i, float v) { x[i] = v; }

INLINE float load(const Bf16* x, int64_t i) {
  uint32_t bits = static_cast<uint32_t>(x[i].bits) << 16;
  float v;
  std::memcpy(&v, &bits, 4);
  return v;
}

// To the nearest, ties to even, as libtorch rounds; NaN stays NaN.
INLINE void store(Bf16* x, int64_t i, float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  x[i].bits = static_cast<uint16_t>(v == v ? rounded : 0x7fc0u);
}

INLINE float sigmoid(float z) { return 1.0f / (1.0f + exp_fast(-z)); }

// dy -> dz through SiLU.
INLINE float silu_slope(float z) {
  float s = sigmoid(z);
  return s * (1.0f + z * (1.0f - s));
}

#define T float
#include "kernels.inc"
#undef T
#define T Bf16
#include "kernels.inc"
#undef T

}  // namespace kernels
