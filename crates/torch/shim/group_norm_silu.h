#pragma once
#include <ATen/ATen.h>

// SiLU(GroupNorm(x + bias)) (or GroupNorm alone) as one differentiable operation.
// x: [B, C, H, W]; bias: [B, C] or undefined; weight, beta: [C] f32; statistics and arithmetic in f32.
at::Tensor group_norm_silu(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& weight, const at::Tensor& beta,
                           int64_t groups, double eps, bool silu);
