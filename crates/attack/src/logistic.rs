//! Logistic regression with an L2 penalty, for attacks that learn from a few numbers per sample.
//!
//! Features are standardised with the mean and deviation of the known samples only. The penalty is chosen among
//! [`PENALTIES`] by five-fold cross-validation of the log-loss within the known samples. Both sides weigh the same,
//! whatever their numbers. Fitted by Newton's method, which a convex problem of this size needs a dozen steps of.

use crate::{AttackError, Result, Rule};
use dualmd_data::stream;
use dualmd_torch::{Kind, Tensor};
use rand::seq::SliceRandom;

/// Candidates for the weight of the penalty (lambda / 2) |w|^2, relative to the mean log-loss; the largest of equals.
const PENALTIES: [f64; 6] = [10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4];

const FOLDS: usize = 5;
const NEWTON_STEPS: usize = 50;
/// Smallest step that is still worth another.
const CONVERGED: f64 = 1e-10;

/// Learns from `x` [N, D]; the scores are log-odds.
pub(crate) fn learn(name: &str, x: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
    let x = x.f_to_kind(Kind::Double)?;
    if !x.f_isfinite()?.f_all()?.int64_value(&[]).eq(&1) {
        return Err(AttackError::Samples(
            "features of the known samples hold NaN or infinity: the model's gradients overflow"
                .into(),
        ));
    }
    let mean = x.f_mean_dim([0i64].as_slice(), true, Kind::Double)?;
    let deviation = x.f_std_dim([0i64].as_slice(), false, true)?;
    // A feature that never varies tells nothing and is not to be divided by its deviation.
    let deviation = deviation.f_where_scalarother(&deviation.f_gt(0.0)?, 1.0)?;
    let standard = move |x: &Tensor| -> Result<Tensor> {
        let x = (x.f_to_kind(Kind::Double)? - &mean) / &deviation;
        // The intercept.
        let ones = Tensor::ones([x.size()[0], 1], (Kind::Double, x.device()));
        Ok(Tensor::f_cat(&[x, ones], 1)?)
    };
    let (x, y) = (standard(&x)?, Labels::new(member, x.device()));
    let penalty = cross_validated(name, &x, member, seed)?;
    let w = fit(&x, &y, penalty)?;
    Ok(Box::new(move |features| {
        let odds = standard(features)?.f_matmul(&w)?;
        Ok(Vec::<f64>::try_from(&odds)?)
    }))
}

/// Labels 1 and 0 with weights that make both sides count for half.
struct Labels {
    y: Tensor,
    weight: Tensor,
}

impl Labels {
    fn new(member: &[bool], device: dualmd_torch::Device) -> Self {
        let members = member.iter().filter(|m| **m).count() as f64;
        let others = member.len() as f64 - members;
        let of = |f: &dyn Fn(bool) -> f64| {
            Tensor::from_slice(&member.iter().map(|&m| f(m)).collect::<Vec<f64>>())
                .to_device(device)
        };
        Self {
            y: of(&|m| f64::from(u8::from(m))),
            weight: of(&|m| 0.5 / if m { members } else { others }),
        }
    }
}

/// The minimum of sum_i weight_i logloss_i + (penalty / 2) |w|^2, the intercept (the last column) free.
fn fit(x: &Tensor, labels: &Labels, penalty: f64) -> Result<Tensor> {
    let d = x.size()[1];
    let options = (Kind::Double, x.device());
    let ridge = Tensor::full([d], penalty, options);
    // A trace of a penalty keeps the intercept's equation regular when everything is told apart.
    let _ = ridge.f_narrow(0, d - 1, 1)?.f_fill_(1e-9)?;
    let mut w = Tensor::zeros([d], options);
    for _ in 0..NEWTON_STEPS {
        let p = x.f_matmul(&w)?.f_sigmoid()?;
        let gradient = x.f_tr()?.f_matmul(&((&p - &labels.y) * &labels.weight))? + &ridge * &w;
        let curvature: Tensor = (&p * (1.0 - &p)) * &labels.weight;
        let hessian = x.f_tr()?.f_matmul(&(x * curvature.f_unsqueeze(1)?))? + ridge.f_diag(0)?;
        let step = Tensor::f_linalg_solve(&hessian, &gradient, true)?;
        // Far from the minimum the logistic curve is flat and a whole step overshoots: halve it until the loss falls.
        let before = loss(x, labels, &w, &ridge)?;
        let mut size = 1.0;
        while size > 1e-6 && loss(x, labels, &(&w - &step * size), &ridge)? > before {
            size /= 2.0;
        }
        w -= &step * size;
        if step.f_norm()?.double_value(&[]) * size < CONVERGED {
            break;
        }
    }
    Ok(w)
}

fn loss(x: &Tensor, labels: &Labels, w: &Tensor, ridge: &Tensor) -> Result<f64> {
    let fit = (log_loss(x, labels, w)? * &labels.weight).f_sum(Kind::Double)?;
    let penalty = (ridge * w.f_square()?).f_sum(Kind::Double)? / 2.0;
    Ok((fit + penalty).double_value(&[]))
}

/// Per sample: softplus(z) - y z.
fn log_loss(x: &Tensor, labels: &Labels, w: &Tensor) -> Result<Tensor> {
    let z = x.f_matmul(w)?;
    Ok(z.f_clamp_min(0.0)? + (-z.f_abs()?).f_exp()?.f_log1p()? - &labels.y * &z)
}

fn cross_validated(name: &str, x: &Tensor, member: &[bool], seed: u64) -> Result<f64> {
    // Folds with a fair share of either side.
    let mut fold = vec![0; member.len()];
    for side in [true, false] {
        let mut rows: Vec<usize> = (0..member.len()).filter(|&i| member[i] == side).collect();
        rows.shuffle(&mut stream(
            seed,
            &format!("attack/{name}/folds"),
            u64::from(side),
        ));
        if rows.len() < FOLDS {
            // Too few to hold any back: the strongest penalty promises the least.
            return Ok(PENALTIES[0]);
        }
        rows.iter()
            .enumerate()
            .for_each(|(k, &i)| fold[i] = k % FOLDS);
    }
    let mut best = (f64::INFINITY, PENALTIES[0]);
    for penalty in PENALTIES {
        let mut total = 0.0;
        for held in 0..FOLDS {
            let part = |inside: bool| -> Result<(Tensor, Labels)> {
                let rows: Vec<i64> = (0..member.len())
                    .filter(|&i| (fold[i] == held) == inside)
                    .map(|i| i as i64)
                    .collect();
                let flags: Vec<bool> = rows.iter().map(|&i| member[i as usize]).collect();
                let index = Tensor::from_slice(&rows).to_device(x.device());
                Ok((
                    x.f_index_select(0, &index)?,
                    Labels::new(&flags, x.device()),
                ))
            };
            let ((x, labels), (test, truth)) = (part(false)?, part(true)?);
            let w = fit(&x, &labels, penalty)?;
            total += (log_loss(&test, &truth, &w)? * &truth.weight)
                .f_sum(Kind::Double)?
                .double_value(&[]);
        }
        if total < best.0 {
            best = (total, penalty);
        }
    }
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::{Device, noise};

    fn normal(purpose: &str, n: i64, d: i64) -> Tensor {
        noise::normal(&mut stream(5, purpose, 0), &[n, d], Device::Cpu).to_kind(Kind::Double)
    }

    /// At the minimum the gradient is 0, and the weighted mean of the residuals with it.
    #[test]
    fn newton_finds_the_minimum() {
        let x = Tensor::cat(
            &[
                normal("x", 40, 3),
                Tensor::ones([40, 1], (Kind::Double, Device::Cpu)),
            ],
            1,
        );
        let member: Vec<bool> = (0..40).map(|i| i % 4 == 0).collect();
        let labels = Labels::new(&member, Device::Cpu);
        let w = fit(&x, &labels, 0.1).unwrap();
        let residual = (x.matmul(&w).sigmoid() - &labels.y) * &labels.weight;
        let ridge = Tensor::from_slice(&[0.1, 0.1, 0.1, 1e-9]);
        let gradient = x.tr().matmul(&residual) + ridge * &w;
        assert!(gradient.abs().max().double_value(&[]) < 1e-12);
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
    }

    #[test]
    fn separable_few_and_constant_samples_do_no_harm() {
        let x = Tensor::from_slice(&[0.0, 0.0, 1.0, 1.0, 7.0, 7.0, 7.0, 7.0])
            .view([2, 4])
            .tr();
        let scores = learn("test", &x, &[false, false, true, true], 0).unwrap()(&x).unwrap();
        assert!(scores[0] < 0.0 && scores[3] > 0.0 && scores.iter().all(|s| s.is_finite()));
        let broken = Tensor::from_slice(&[0.0, f64::NAN]).view([2, 1]);
        assert!(learn("test", &broken, &[true, false], 0).is_err());
    }
}
