//! The logistic regression of attacks that learn from a few numbers per sample: that of the statistics crate
//! ([`dualmd_stats::combine`]), for features in a tensor.

use crate::{AttackError, Result, Rule};
use dualmd_data::stream;
use dualmd_stats::{Logistic, StatsError};
use dualmd_torch::{Device, Kind, Tensor};
use rand::RngCore;

/// Learns from `x` [N, D]; the scores are log-odds. `name` and `seed` deal the samples into folds.
pub(crate) fn learn(name: &str, x: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
    let folds = stream(seed, &format!("attack/{name}/folds"), 0).next_u64();
    let (rule, _) = match Logistic::learn(&rows(x)?, member, folds) {
        Ok(learnt) => learnt,
        Err(StatsError::NotFinite { .. }) => {
            return Err(AttackError::Samples(
                "features of the known samples hold NaN or infinity: the model's gradients overflow"
                    .into(),
            ));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Box::new(move |features| Ok(rule.scores(&rows(features)?))))
}

/// Features [N, D] as rows of f64.
fn rows(x: &Tensor) -> Result<Vec<Vec<f64>>> {
    let [n, d] = x.size()[..] else {
        return Err(AttackError::Samples(format!(
            "features of shape {:?}, expected [N, D]",
            x.size()
        )));
    };
    let flat = x
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Double)?
        .f_reshape([n * d])?;
    let flat = Vec::<f64>::try_from(&flat)?;
    let width = usize::try_from(d).unwrap_or_default().max(1);
    Ok(flat.chunks(width).map(<[f64]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::noise;

    fn normal(purpose: &str, n: i64, d: i64) -> Tensor {
        noise::normal(&mut stream(5, purpose, 0), &[n, d], Device::Cpu).to_kind(Kind::Double)
    }

    /// One informative feature among twenty, in units a million times those of the others.
    #[test]
    fn it_finds_the_feature_that_tells() {
        let member: Vec<bool> = (0..200).map(|i| i < 60).collect();
        let shift: Vec<f64> = member.iter().map(|&m| if m { 4.0 } else { 0.0 }).collect();
        let informative =
            (normal("signal", 200, 1) + Tensor::from_slice(&shift).view([200, 1])) * 1e6;
        let x = Tensor::cat(&[informative, normal("noise", 200, 19)], 1);
        let rule = learn("test", &x, &member, 0).unwrap();
        let scores = rule(&x).unwrap();
        let right = scores
            .iter()
            .zip(&member)
            .filter(|(s, m)| (**s > 0.0) == **m)
            .count();
        assert!(right >= 185, "{right} of 200");
        // Rows are samples and columns features, also where the tensor lies the other way round in memory.
        let turned = x.tr().contiguous().tr();
        assert_eq!(rule(&turned).unwrap(), scores);
    }

    #[test]
    fn separable_few_and_constant_samples_do_no_harm() {
        let x = Tensor::from_slice(&[0.0, 0.0, 1.0, 1.0, 7.0, 7.0, 7.0, 7.0])
            .view([2, 4])
            .tr();
        let scores = learn("test", &x, &[false, false, true, true], 0).unwrap()(&x).unwrap();
        assert!(scores[0] < 0.0 && scores[3] > 0.0 && scores.iter().all(|s| s.is_finite()));
        let broken = Tensor::from_slice(&[0.0, f64::NAN]).view([2, 1]);
        let Err(error) = learn("test", &broken, &[true, false], 0) else {
            panic!("it learns from NaN");
        };
        assert!(error.to_string().contains("overflow"), "{error}");
        let flat = Tensor::from_slice(&[0.0, 1.0]);
        assert!(learn("test", &flat, &[true, false], 0).is_err());
    }
}
