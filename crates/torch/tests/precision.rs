//! Where bf16 is computed in, and where not.

use dualmd_torch::shim::{autocasts, with_precision, without_autocast};
use dualmd_torch::{Device, Kind, Tensor, device::Precision};

#[test]
fn bf16_is_left_out_where_gradients_are_compared() {
    let x = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
    let product = || {
        let both = || (x.matmul(&x).kind(), autocasts());
        with_precision(Precision::Bf16, Device::Cpu, both).unwrap()
    };
    assert_eq!(product(), (Kind::BFloat16, true));
    assert!(!autocasts());
    assert_eq!(without_autocast(product), (Kind::Float, false));
    assert_eq!(product(), (Kind::BFloat16, true));
}
