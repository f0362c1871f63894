#pragma once
#include <ATen/ATen.h>

// SiLU(GroupNorm(x)) (or GroupNorm alone) as one differentiable operation.
// x: [B, C, H, W]; weight, bias: [C] f32; statistics and arithmetic in f32 whatever the dtype of x.
at::Tensor group_norm_silu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t groups,
                           double eps, bool silu);
