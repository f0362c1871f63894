//! The density ratio, on models whose privacy is known without training.

mod common;

use common::{auc, cosines, covariance, gaussian_images, images, null_error};
use dualmd_attack::AttackError;
use dualmd_attack::density::{REFERENCES, scores};
use dualmd_attack::nn::feature_scores;
use dualmd_data::stream;
use dualmd_diffusion::sampler::{SampleOptions, Sampler, initial_noise, sample};
use dualmd_diffusion::{Denoiser, GaussianDenoiser, MemorisedDenoiser, NoiseSchedule};
use dualmd_torch::{Device, Kind, Tensor, noise};

const MEMBERS: i64 = 24;
const GENERATED: i64 = 256;

/// Pixels as features.
fn flat(images: &Tensor) -> Tensor {
    images.flatten(1, -1)
}

/// AUC of the ratio: members, images that nobody saw, what was generated, and other images that nobody saw.
fn ratio(members: &Tensor, fresh: &Tensor, generated: &Tensor, reference: &Tensor) -> f64 {
    let queries = flat(&Tensor::cat(&[members, fresh], 0));
    let found = scores(&queries, &flat(generated), &flat(reference)).unwrap();
    let (inside, outside) = found.split_at(members.size()[0] as usize);
    auc(inside, outside)
}

/// What a model draws.
fn drawn(denoiser: &dyn Denoiser) -> Tensor {
    let options = SampleOptions {
        sampler: Sampler::Ddim,
        steps: 20,
        batch: 64,
        seed: 0,
        clip: None,
        unbounded: true,
    };
    sample(
        denoiser,
        &NoiseSchedule::default(),
        &initial_noise(3, GENERATED as usize, [1, 8, 8], Device::Cpu),
        None,
        &options,
        |_| true,
    )
    .unwrap()
}

/// A model that draws nothing but its training images is caught. (Not perfectly, as by `nn`: kernels are wide.)
#[test]
fn a_memorised_set_is_caught() {
    for seed in 0..3 {
        let members = images(seed, "members", MEMBERS, 1.0);
        let model = MemorisedDenoiser::new(&members, NoiseSchedule::default()).unwrap();
        let (fresh, others) = (
            images(seed, "fresh", 100, 1.0),
            images(seed, "others", 100, 1.0),
        );
        let found = ratio(&members, &fresh, &drawn(&model), &others);
        assert!(found > 0.95, "seed {seed}: {found}");
    }
}

/// A model that knows the distribution and no image of it: chance, within three standard errors (a false alarm of 0.3 %).
#[test]
fn a_gaussian_model_gives_nothing_away() {
    let mean = Tensor::zeros([64], (Kind::Float, Device::Cpu));
    let model = GaussianDenoiser::new(&mean, &covariance(), NoiseSchedule::default()).unwrap();
    let n = 200;
    let found = ratio(
        &gaussian_images(1, "members", n),
        &gaussian_images(1, "fresh", n),
        &drawn(&model),
        &gaussian_images(1, "others", 100),
    );
    let error = null_error(n as usize, n as usize);
    assert!((found - 0.5).abs() < 3.0 * error, "{found}");
}

/// Half of the images are dim, and so near to one another. What is generated are members, changed a little: `nn` takes every dim image
/// for a member and hardly any bright one; the ratio asks what is ordinary among dim and bright ones.
#[test]
fn it_does_not_take_ordinary_images_for_members() {
    let (mut by_ratio, mut by_distance) = (0.0, 0.0);
    let seeds = 4;
    for seed in 0..seeds {
        let mixed = |purpose: &str, n: i64| {
            Tensor::cat(
                &[
                    images(seed, purpose, n / 2, 0.1),
                    images(seed, &format!("{purpose}, bright"), n / 2, 1.0),
                ],
                0,
            )
        };
        let (members, fresh) = (mixed("members", MEMBERS), mixed("fresh", 100));
        let rows: Vec<i64> = (0..GENERATED).map(|i| i % MEMBERS).collect();
        let change =
            noise::normal(&mut stream(seed, "change", 0), &[GENERATED, 9], Device::Cpu) * 0.075;
        let generated = members.index_select(0, &Tensor::from_slice(&rows))
            + change.matmul(&cosines().tr()).view([-1, 1, 8, 8]);
        by_ratio += ratio(&members, &fresh, &generated, &mixed("others", 100));
        let queries = flat(&Tensor::cat(&[&members, &fresh], 0));
        let near = feature_scores(&queries, &flat(&generated)).unwrap();
        let (inside, outside) = near.split_at(MEMBERS as usize);
        by_distance += auc(inside, outside);
    }
    let (by_ratio, by_distance) = (by_ratio / seeds as f64, by_distance / seeds as f64);
    assert!(
        by_ratio > 0.7 && by_ratio > by_distance + 0.05,
        "{by_ratio} by the ratio, {by_distance} by distance"
    );
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let rows = |n: i64, d: i64| noise::normal(&mut stream(0, "rows", 0), &[n, d], Device::Cpu);
    let said = |a: &Tensor, b: &Tensor, c: &Tensor| scores(a, b, c).unwrap_err().to_string();
    let few = said(&rows(2, 4), &rows(9, 4), &rows(REFERENCES as i64 - 1, 4));
    assert!(few.contains("--known-fraction"), "{few}");
    assert!(matches!(
        scores(&rows(2, 5), &rows(9, 4), &rows(20, 4)),
        Err(AttackError::Statistics(_))
    ));
    let broken = rows(9, 4) / 0.0;
    assert!(scores(&rows(2, 4), &broken, &rows(20, 4)).is_err());
    let square = rows(8, 4).view([2, 4, 4]);
    assert!(said(&square, &rows(9, 4), &rows(20, 4)).contains("expected [N, D]"));
    assert!(
        scores(&rows(0, 4), &rows(9, 4), &rows(20, 4))
            .unwrap()
            .is_empty()
    );
}
