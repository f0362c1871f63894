//! Does what a model draws lie nearer to its training images than to as many images that it never saw? For `nearest.json`.

use super::sample::Side;
use anyhow::Result;
use dualmd_data::stream;
use dualmd_record::samples::NearestEqual;
use dualmd_stats::{Nearer, nearer};
use dualmd_torch::{Device, Kind, Tensor};
use rand::seq::index;

/// Draws of equal numbers, and relabellings of the test.
const DRAWS: usize = 1000;
const RELABELLINGS: usize = 999;
/// Images of one kind that are compared; of more, so many are drawn. Bounds time and memory (100 MB).
const GENERATED: usize = 1024;
const REAL: usize = 4096;
/// Generated images compared at once.
const CHUNK: i64 = 64;

/// The comparison; `None` where a side has fewer than two images or nothing was drawn.
///
/// # Errors
/// Images of different sizes; distances that are not finite.
pub fn measure(
    generated: &Tensor,
    members: Side<'_>,
    heldout: Side<'_>,
    seed: u64,
) -> Result<Option<NearestEqual>> {
    let drawn = generated.size().first().copied().unwrap_or(0);
    if drawn == 0 || members.positions.len() < 2 || heldout.positions.len() < 2 {
        return Ok(None);
    }
    let generated = rows(&generated.f_narrow(0, 0, drawn.min(GENERATED as i64))?)?;
    let distances = |side: Side<'_>, purpose: &str| -> Result<Vec<Vec<f64>>> {
        let positions = some(side.positions, seed, purpose);
        let real = rows(
            &Side {
                positions: &positions,
                ..side
            }
            .tensor(),
        )?;
        to_all(&generated, &real)
    };
    let (to_members, to_others) = (
        distances(members, "nearer-members")?,
        distances(heldout, "nearer-heldout")?,
    );
    let Nearer {
        n,
        generated,
        draws,
        seed,
        median_members,
        median_others,
        share,
        share_ci,
        p_value,
        relabellings,
    } = nearer(&to_members, &to_others, DRAWS, RELABELLINGS, seed)?;
    Ok(Some(NearestEqual {
        n,
        generated,
        draws,
        seed,
        median_members,
        median_others,
        share,
        share_ci,
        p_value,
        relabellings,
    }))
}

/// At most [`REAL`] of the positions, in their order.
fn some(positions: &[usize], seed: u64, purpose: &str) -> Vec<usize> {
    if positions.len() <= REAL {
        return positions.to_vec();
    }
    let mut rng = stream(seed, purpose, 0);
    let mut chosen = index::sample(&mut rng, positions.len(), REAL).into_vec();
    chosen.sort_unstable();
    chosen.into_iter().map(|i| positions[i]).collect()
}

/// Images as rows of f64 on the CPU.
fn rows(images: &Tensor) -> Result<Tensor> {
    Ok(images
        .f_flatten(1, -1)?
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Double)?)
}

/// Root mean square differences per pixel on [0, 1], of each generated image to each real one. Rounded to seven digits: what
/// this way of computing them loses must not decide between two pictures that are equally far.
fn to_all(generated: &Tensor, real: &Tensor) -> Result<Vec<Vec<f64>>> {
    let squares = |x: &Tensor| {
        x.f_mul(x)?
            .f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)
    };
    let values = real.size()[1] as f64;
    let norms = squares(real)?.f_unsqueeze(0)?;
    let mut out = Vec::new();
    let n = generated.size()[0];
    for start in (0..n).step_by(CHUNK as usize) {
        let part = generated.f_narrow(0, start, CHUNK.min(n - start))?;
        let own = squares(&part)?.f_unsqueeze(1)?;
        let squared = own
            .f_add(&norms)?
            .f_sub(&part.f_matmul(&real.f_tr()?)?.f_mul_scalar(2.0)?)?;
        // [-1, 1] is twice as wide as [0, 1].
        let rms = squared
            .f_clamp_min(0.0)?
            .f_div_scalar(values)?
            .f_sqrt()?
            .f_div_scalar(2.0)?;
        let rows = Vec::<Vec<f64>>::try_from(&rms)?;
        out.extend(
            rows.into_iter()
                .map(|row| row.into_iter().map(|d| (d * 1e7).round() / 1e7).collect()),
        );
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::{LoadOptions, load};

    /// Members copied, with some noise: nearer, though eight times as many images were never seen. Other images of the same kind: not.
    #[test]
    fn copies_are_nearer_at_equal_numbers_and_others_are_not() {
        let options = LoadOptions {
            image_size: Some(8),
            ..LoadOptions::default()
        };
        let set = load("fashion", &options).unwrap();
        let at = |from: usize, n: usize| (from..from + n).collect::<Vec<_>>();
        let (members, heldout, others) = (at(0, 40), at(40, 320), at(360, 60));
        let side = |positions| Side {
            set: &set,
            positions,
        };
        let judge = |generated: &Tensor| {
            let found = measure(generated, side(&members), side(&heldout), 3).unwrap();
            found.unwrap()
        };
        let copies = side(&members).tensor();
        let noise = (copies.f_mul_scalar(37.0).unwrap().sin()) * 0.3;
        let copier = judge(&(copies + noise));
        assert_eq!((copier.n, copier.generated), (40, 40));
        assert!(copier.share > 0.9 && copier.p_value <= 0.001, "{copier:?}");
        assert!(copier.median_members < copier.median_others);
        let stranger = judge(&side(&others).tensor());
        assert!(stranger.p_value > 0.05, "{stranger:?}");
        let none = measure(
            &side(&others).tensor(),
            side(&members[..1]),
            side(&heldout),
            3,
        );
        assert!(none.unwrap().is_none());
    }

    #[test]
    fn distances_by_hand() {
        let a = Tensor::from_slice(&[1.0_f64, -1.0, 0.0, 0.0]).view([2, 2]);
        let b = Tensor::from_slice(&[1.0_f64, -1.0, -1.0, -1.0]).view([2, 2]);
        // On [0, 1]: a copy; two pixels of which one is off by 1; two off by a half.
        let found = to_all(&a, &b).unwrap();
        assert_eq!(found[0][0], 0.0);
        assert!((found[0][1] - 0.5_f64.sqrt()).abs() < 1e-7);
        assert!((found[1][0] - 0.5).abs() < 1e-7 && (found[1][1] - 0.5).abs() < 1e-7);
    }
}
