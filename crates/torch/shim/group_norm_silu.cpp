// SiLU(GroupNorm(x)): the reference composition of library operations.
#include "group_norm_silu.h"

at::Tensor group_norm_silu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t groups,
                           double eps, bool silu) {
  auto y = at::group_norm(x, groups, weight, bias, eps);
  return silu ? at::silu(y) : y;
}
