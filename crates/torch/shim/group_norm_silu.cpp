// SiLU(GroupNorm(x + bias)) as one differentiable CPU operation for f32 and bf16, in NCHW and channels-last memory. In bf16 only what goes
// in and comes out is bf16 (x, y and their gradients); statistics, sums and parameters are f32.
//
// The library's composition passes over the tensor seven times forward (add, two statistics, normalise, SiLU) and keeps
// three copies for the backward; this one reads x twice and keeps x alone. On CUDA, in other dtypes and layouts the
// composition is used. Derivatives: with z = w (u - mean) rstd + b, u = x + bias,
//   dz = dy sigma(z) (1 + z (1 - sigma(z))),   D = elements per group,
//   S1 = sum w dz, S2 = sum w dz u,   c2 = (S1 mean - S2) rstd^3 / D,   c3 = -c2 mean - S1 rstd / D,
//   du = rstd w dz + c2 u + c3;  dw = rstd (sum dz u - mean sum dz),  db = sum dz,  dbias = sum over pixels of du.
#include "group_norm_silu.h"
#include "kernels.h"

#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <vector>

using namespace kernels;
using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct Shape {
  int64_t n, c, hw, groups, per_group;  // per_group: channels
  bool channels_last;
};

Shape shape_of(const Tensor& x, int64_t groups) {
  Shape s;
  s.n = x.size(0);
  s.c = x.size(1);
  s.hw = x.size(2) * x.size(3);
  s.groups = groups;
  s.per_group = s.c / groups;
  s.channels_last = !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  return s;
}

// mean and rstd per sample and group; two passes, so that a large mean costs no digits.
template <class T>
void statistics(const Shape& s, const T* x, const float* bias, double eps, float* mean, float* rstd) {
  at::parallel_for(0, s.n, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sum(s.c), shift(s.c), squares(s.c);
    for (int64_t n = begin; n < end; n++) {
      const T* xn = x + n * s.c * s.hw;
      const float* bn = bias + n * s.c;
      if (s.channels_last) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        cl_sums(xn, s.hw, s.c, sum.data());
      } else {
        float unused;
        for (int64_t c = 0; c < s.c; c++) sums(xn + c * s.hw, s.hw, 0.0f, &sum[c], &unused);
      }
      double d = static_cast<double>(s.per_group * s.hw);
      for (int64_t g = 0; g < s.groups; g++) {
        double total = 0;
        for (int64_t c = g * s.per_group; c < (g + 1) * s.per_group; c++) total += sum[c] + double(bn[c]) * s.hw;
        mean[n * s.groups + g] = static_cast<float>(total / d);
        for (int64_t c = g * s.per_group; c < (g + 1) * s.per_group; c++) shift[c] = bn[c] - mean[n * s.groups + g];
      }
      if (s.channels_last) {
        std::fill(squares.begin(), squares.end(), 0.0f);
        cl_spread(xn, s.hw, s.c, shift.data(), squares.data());
      } else {
        for (int64_t c = 0; c < s.c; c++) spread(xn + c * s.hw, s.hw, shift[c], &squares[c]);
      }
      for (int64_t g = 0; g < s.groups; g++) {
        double total = 0;
        for (int64_t c = g * s.per_group; c < (g + 1) * s.per_group; c++) total += squares[c];
        rstd[n * s.groups + g] = static_cast<float>(1.0 / std::sqrt(total / d + eps));
      }
    }
  });
}

// scale and shift per channel of sample n: z = x scale + shift.
void coefficients(const Shape& s, int64_t n, const float* w, const float* b, const float* bias, const float* mean,
                  const float* rstd, float* scale, float* shift) {
  for (int64_t c = 0; c < s.c; c++) {
    int64_t g = n * s.groups + c / s.per_group;
    scale[c] = w[c] * rstd[g];
    shift[c] = b[c] + (bias[n * s.c + c] - mean[g]) * scale[c];
  }
}

template <class T>
void normalise(const Shape& s, const T* x, T* y, const float* w, const float* b, const float* bias, const float* mean,
               const float* rstd, bool silu) {
  at::parallel_for(0, s.n, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scale(s.c), shift(s.c);
    for (int64_t n = begin; n < end; n++) {
      coefficients(s, n, w, b, bias, mean, rstd, scale.data(), shift.data());
      const T* xn = x + n * s.c * s.hw;
      T* yn = y + n * s.c * s.hw;
      if (s.channels_last) {
        cl_affine(xn, yn, s.hw, s.c, scale.data(), shift.data(), silu);
      } else {
        for (int64_t c = 0; c < s.c; c++) affine(xn + c * s.hw, yn + c * s.hw, s.hw, scale[c], shift[c], silu);
      }
    }
  });
}

// dz in f32 before it becomes dx: in dx itself where that is f32.
float* dz_of(float* dx, std::vector<float>&) { return dx; }
float* dz_of(Bf16*, std::vector<float>& room) { return room.data(); }
size_t room_for(const float*, int64_t) { return 0; }
size_t room_for(const Bf16*, int64_t elements) { return static_cast<size_t>(elements); }

// dx, and per sample and channel: sum of dx (the gradient of the bias), sum dz (of beta), sum dz xhat (of the weight).
template <class T>
void slopes_of(const Shape& s, const T* x, const T* dy, T* dx, const float* w, const float* b, const float* bias,
               const float* mean, const float* rstd, bool silu, float* totals, float* p1, float* p2) {
  at::parallel_for(0, s.n, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scale(s.c), shift(s.c), a(s.c), c2(s.c), c3(s.c), room(room_for(dx, s.c * s.hw));
    for (int64_t n = begin; n < end; n++) {
      coefficients(s, n, w, b, bias, mean, rstd, scale.data(), shift.data());
      int64_t at = n * s.c * s.hw;
      float *s1 = p1 + n * s.c, *s2 = p2 + n * s.c, *dz = dz_of(dx + at, room);
      const float* bn = bias + n * s.c;
      if (s.channels_last) {
        cl_slopes(x + at, dy + at, dz, s.hw, s.c, scale.data(), shift.data(), bn, silu, s1, s2);
      } else {
        for (int64_t c = 0; c < s.c; c++) {
          int64_t o = c * s.hw;
          slopes(x + at + o, dy + at + o, dz + o, s.hw, scale[c], shift[c], bn[c], silu, &s1[c], &s2[c]);
        }
      }
      double d = static_cast<double>(s.per_group * s.hw);
      for (int64_t g = 0; g < s.groups; g++) {
        double m = mean[n * s.groups + g], r = rstd[n * s.groups + g], t1 = 0, t2 = 0;
        for (int64_t c = g * s.per_group; c < (g + 1) * s.per_group; c++) {
          t1 += double(w[c]) * s1[c];
          t2 += double(w[c]) * s2[c];
        }
        double k2 = (t1 * m - t2) * r * r * r / d, k3 = -k2 * m - t1 * r / d;
        for (int64_t c = g * s.per_group; c < (g + 1) * s.per_group; c++) {
          a[c] = static_cast<float>(r * w[c]);
          c2[c] = static_cast<float>(k2);
          c3[c] = static_cast<float>(k3);
          // sum dz u -> sum dz xhat, the gradient of the weight.
          s2[c] = static_cast<float>(r * (s2[c] - m * s1[c]));
        }
      }
      float* total = totals + n * s.c;
      if (s.channels_last) {
        cl_finish(x + at, dz, dx + at, s.hw, s.c, a.data(), c2.data(), c3.data(), bn, total);
      } else {
        for (int64_t c = 0; c < s.c; c++) {
          int64_t o = c * s.hw;
          finish(x + at + o, dz + o, dx + at + o, s.hw, a[c], c2[c], c3[c], bn[c], &total[c]);
        }
      }
    }
  });
}

// libtorch's tensors as the kernels' types.
const float* read_as(const Tensor& t, float) { return t.data_ptr<float>(); }
float* write_as(const Tensor& t, float) { return t.data_ptr<float>(); }
const Bf16* read_as(const Tensor& t, Bf16) { return reinterpret_cast<const Bf16*>(t.data_ptr<at::BFloat16>()); }
Bf16* write_as(const Tensor& t, Bf16) { return reinterpret_cast<Bf16*>(t.data_ptr<at::BFloat16>()); }

// Calls f with a value of the type that the images are in.
template <class F>
void with_type(const Tensor& x, F f) {
  if (x.scalar_type() == at::kBFloat16) {
    f(Bf16{});
  } else {
    f(0.0f);
  }
}

struct Fused : torch::autograd::Function<Fused> {
  static Tensor forward(AutogradContext* ctx, Tensor x, Tensor bias, Tensor weight, Tensor beta, int64_t groups,
                        double eps, bool silu) {
    Shape s = shape_of(x, groups);
    auto y = at::empty_like(x);
    auto stats = at::empty({2, s.n, groups}, bias.options());
    float *mean = stats.data_ptr<float>(), *rstd = mean + s.n * groups;
    const float *bp = bias.data_ptr<float>(), *w = weight.data_ptr<float>(), *b = beta.data_ptr<float>();
    with_type(x, [&](auto type) {
      statistics(s, read_as(x, type), bp, eps, mean, rstd);
      normalise(s, read_as(x, type), write_as(y, type), w, b, bp, mean, rstd, silu);
    });
    ctx->save_for_backward({x, bias, weight, beta, stats});
    ctx->saved_data["groups"] = groups;
    ctx->saved_data["silu"] = silu;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    RECORD_USER_SCOPE("dualmd::group_norm_silu_backward");
    // The sums below are no graph: a second derivative would be wrong, and silently.
    TORCH_CHECK(!at::GradMode::is_enabled(), "group_norm_silu has no second derivative (create_graph)");
    auto saved = ctx->get_saved_variables();
    Tensor x = saved[0], bias = saved[1], weight = saved[2], beta = saved[3], stats = saved[4];
    bool silu = ctx->saved_data["silu"].toBool();
    Shape s = shape_of(x, ctx->saved_data["groups"].toInt());
    auto dy = grads[0].to(x.scalar_type()).contiguous(s.channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
    auto dx = at::empty_like(x);
    auto dbias = at::zeros_like(bias);
    // Per sample and channel, summed over samples at the end in a fixed order: repeatable with any number of threads.
    auto parts = at::zeros({2, s.n, s.c}, bias.options());
    const float *bp = bias.data_ptr<float>(), *w = weight.data_ptr<float>(), *b = beta.data_ptr<float>(),
                *mean = stats.data_ptr<float>(), *rstd = mean + s.n * s.groups;
    float *tp = dbias.data_ptr<float>(), *p1 = parts.data_ptr<float>(), *p2 = p1 + s.n * s.c;
    with_type(x, [&](auto type) {
      slopes_of(s, read_as(x, type), read_as(dy, type), write_as(dx, type), w, b, bp, mean, rstd, silu, tp, p1, p2);
    });
    auto totals = parts.sum(1);
    return {dx, dbias, totals[1], totals[0], Tensor(), Tensor(), Tensor()};
  }
};

bool plain_f32(const Tensor& t) { return t.scalar_type() == at::kFloat && t.is_contiguous(); }

}  // namespace

Tensor group_norm_silu(const Tensor& x, const Tensor& bias, const Tensor& weight, const Tensor& beta, int64_t groups,
                       double eps, bool silu) {
  RECORD_USER_SCOPE("dualmd::group_norm_silu");
  // The kernels read C elements of weight and beta and B x C of bias from raw memory.
  TORCH_CHECK(x.dim() == 4, "group_norm_silu: x must be [B, C, H, W], got ", x.sizes());
  TORCH_CHECK(at::isFloatingType(x.scalar_type()), "group_norm_silu: x is ", x.scalar_type(), ", not of floats");
  int64_t channels = x.size(1);
  TORCH_CHECK(groups > 0 && channels % groups == 0, "group_norm_silu: ", groups, " groups do not divide ", channels,
              " channels");
  TORCH_CHECK(std::isfinite(eps) && eps >= 0, "group_norm_silu: eps = ", eps, " must be at least 0");
  auto check = [&](const Tensor& t, const char* what) {
    TORCH_CHECK(at::isFloatingType(t.scalar_type()), "group_norm_silu: ", what, " is ", t.scalar_type(), ", not of floats");
    TORCH_CHECK(t.device() == x.device(), "group_norm_silu: ", what, " is on ", t.device(), ", x on ", x.device());
    TORCH_CHECK(t.layout() == at::kStrided, "group_norm_silu: ", what, " is sparse");
  };
  check(x, "x");
  check(weight, "weight");
  check(beta, "beta");
  TORCH_CHECK(weight.sizes() == at::IntArrayRef({channels}), "group_norm_silu: weight must be [", channels, "], got ",
              weight.sizes());
  TORCH_CHECK(beta.sizes() == at::IntArrayRef({channels}), "group_norm_silu: beta must be [", channels, "], got ",
              beta.sizes());
  if (bias.defined()) {
    check(bias, "add");
    TORCH_CHECK(bias.sizes() == at::IntArrayRef({x.size(0), channels}), "group_norm_silu: add must be [", x.size(0), ", ",
                channels, "], got ", bias.sizes());
  }
  bool laid_out = x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.numel() > 0 &&
                  (x.is_contiguous() || x.is_contiguous(at::MemoryFormat::ChannelsLast));
  if (laid_out && plain_f32(weight) && plain_f32(beta)) {
    auto shift = bias.defined() ? bias.to(at::kFloat).contiguous() : at::zeros({x.size(0), x.size(1)}, x.options().dtype(at::kFloat).memory_format(c10::nullopt));
    return Fused::apply(x, shift, weight, beta, groups, eps, silu);
  }
  auto u = bias.defined() ? x + bias.unsqueeze(-1).unsqueeze(-1) : x;
  auto y = at::group_norm(u, groups, weight, beta, eps);
  if (silu) y = at::silu(y);
  // libtorch's GroupNorm on CUDA answers in NCHW whatever it is given. What came in channels-last goes on so, to convolutions that want it.
  return y.is_cuda() ? y.contiguous(x.suggest_memory_format()) : y;
}
