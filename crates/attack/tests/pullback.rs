//! Masked residuals, by hand.

mod common;

use common::{Linear, assert_close, quiet};
use dualmd_attack::{Samples, by_name, run};
use dualmd_data::stream;
use dualmd_diffusion::NoiseSchedule;
use dualmd_torch::{Device, Kind, Tensor, noise};

fn samples() -> (Tensor, Samples) {
    let x = noise::normal(&mut stream(2, "x", 0), &[3, 2, 4, 4], Device::Cpu);
    let ids = (0..3).map(|i| format!("image-{i}")).collect();
    (x.shallow_clone(), Samples::new(x, ids).unwrap())
}

fn scores(samples: &Samples, name: &str) -> Result<Vec<f64>, String> {
    let model = Linear {
        slope: 1.0,
        offset: 0.0,
    };
    let attacks = [by_name(name).unwrap()];
    let schedule = NoiseSchedule::default();
    let mut outcome = run(&model, &schedule, samples, &attacks, quiet(2, 0)).unwrap();
    outcome.results.remove(0).scores
}

/// A model that answers with its input: SimA is minus the sum of fourth powers, here over the left half alone. The mirror image has
/// the mirrored mask.
#[test]
fn what_is_masked_does_not_count() {
    let (x, samples) = samples();
    let columns = Tensor::from_slice(&[1.0f64, 1.0, 0.0, 0.0]).view([1, 1, 1, 4]);
    let mask = columns.expand([3, 2, 4, 4], false).contiguous();
    let samples = samples.with_mask(mask.shallow_clone()).unwrap();
    let expected = (x.to_kind(Kind::Double).pow_tensor_scalar(4i64) * mask).sum_dim_intlist(
        [1i64, 2, 3].as_slice(),
        false,
        Kind::Double,
    );
    for name in ["sima+pullback", "sima+pullback+flip"] {
        for (i, score) in scores(&samples, name).unwrap().into_iter().enumerate() {
            let expected = -expected.double_value(&[i as i64]);
            assert_close(score, expected, 1e-6, name);
        }
    }
    // The attack itself looks at everything, with a mask at hand or not.
    let all = scores(&samples, "sima").unwrap();
    assert!(all[0] < -expected.double_value(&[0]) - 1e-3);
}

#[test]
fn without_a_decoder_it_says_what_it_needs() {
    let (x, samples) = samples();
    let reason = scores(&samples, "sima+pullback").unwrap_err();
    assert!(reason.contains("needs a latent model"), "{reason}");
    let error = samples
        .with_mask(x.narrow(1, 0, 1))
        .unwrap_err()
        .to_string();
    assert!(error.contains("must agree"), "{error}");
}
