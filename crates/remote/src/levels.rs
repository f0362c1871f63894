//! What networks of other kinds are asked, and the noise that their answers mean.
//!
//! All attacks ask for eps at x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps. With a = sqrt(abar_t) and b = sqrt(1 - abar_t):
//!
//! | network answers | is asked at | with the level | eps |
//! |---|---|---|---|
//! | eps | x_t | t | the answer |
//! | v = a eps - b x_0 (Salimans and Ho 2022) | x_t | t | a v + b x_t |
//! | x0 | x_t | t | (x_t - a x0) / b |
//! | flow: v = eps - x_0 along x_s = (1 - s) x_0 + s eps (Liu et al. 2022) | x_t / (a + b) | s = b / (a + b) | x_s + (1 - s) v |
//! | EDM: D(y; sigma) = x_0 for y = x_0 + sigma eps (Karras et al. 2022) | x_t / a | sigma = b / a | (y - D) / sigma |
//!
//! Each eps is a multiple of the answer and one of what is asked, eps = u x + w y. So the loss mean (eps - eps^)^2 of a row, whose noise eps
//! is known, is mean (w (y - target))^2 with target = (eps - u x) / w: a server that differentiates it needs target and |w| alone
//! ([`Question::aim`]).
//!
//! The levels of a row are those of one signal-to-noise ratio. In DDPM's schedule the middle of the path, s = 1/2, is t = 258.
//! EDM's eps divides by sigma, which is 0.01 at t = 0: an error of D grows a hundredfold there.

use crate::Result;
use dualmd_diffusion::NoiseSchedule;
use dualmd_torch::{Kind, Tensor};

/// What a network answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// The noise.
    Eps,
    /// v = a eps - b x_0.
    V,
    /// The clean image.
    X0,
    /// The velocity eps - x_0 of a rectified flow.
    Flow,
    /// The clean image, asked in the way of EDM.
    Edm,
}

impl Prediction {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Eps, Self::V, Self::X0, Self::Flow, Self::Edm];

    /// Its name in the protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eps => "eps",
            Self::V => "v",
            Self::X0 => "x0",
            Self::Flow => "flow",
            Self::Edm => "edm",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// Is its level a timestep of its schedule, an i64, and not a continuous one, an f32?
    #[must_use]
    pub const fn is_discrete(self) -> bool {
        matches!(self, Self::Eps | Self::V | Self::X0)
    }
}

/// A question to a network, and what its answer means.
#[derive(Debug)]
pub struct Question {
    prediction: Prediction,
    /// abar of each row.
    abar: Vec<f64>,
    /// What the network sees, shaped as x_t.
    pub x: Tensor,
    /// \[B\]: t as i64; s or sigma as f32.
    pub level: Tensor,
    /// [B, 1, 1, 1]: a, b, and the level as a number of x's dtype.
    a: Tensor,
    b: Tensor,
    s: Tensor,
}

impl Question {
    /// What a network is asked about `x_t` [B, C, H, W] at the timesteps `t` \[B\] i64 of the schedule.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn new(
        prediction: Prediction,
        schedule: &NoiseSchedule,
        x_t: &Tensor,
        t: &Tensor,
    ) -> Result<Self> {
        let timesteps = Vec::<i64>::try_from(t)?;
        let each = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
            timesteps
                .iter()
                .map(|&t| f(schedule.alpha_bar(t)))
                .collect()
        };
        let wide = |values: Vec<f64>| -> Result<Tensor> {
            Ok(Tensor::from_slice(&values)
                .f_view([-1, 1, 1, 1])?
                .f_to_kind(x_t.kind())?
                .f_to_device(x_t.device())?)
        };
        let level = |values: &[f64]| -> Result<Tensor> {
            Ok(Tensor::from_slice(values).f_to_kind(Kind::Float)?)
        };
        let a = |abar: f64| abar.sqrt();
        let b = |abar: f64| (1.0 - abar).sqrt();
        let (x, level, s) = match prediction {
            Prediction::Eps | Prediction::V | Prediction::X0 => {
                let nothing = wide(Vec::new())?;
                (x_t.shallow_clone(), t.shallow_clone(), nothing)
            }
            Prediction::Flow => {
                let s = each(&|abar| b(abar) / (a(abar) + b(abar)));
                let scale = wide(each(&|abar| 1.0 / (a(abar) + b(abar))))?;
                (x_t.f_mul(&scale)?, level(&s)?, wide(s)?)
            }
            Prediction::Edm => {
                let sigma = each(&|abar| b(abar) / a(abar));
                let scale = wide(each(&|abar| 1.0 / a(abar)))?;
                (x_t.f_mul(&scale)?, level(&sigma)?, wide(sigma)?)
            }
        };
        Ok(Self {
            prediction,
            abar: each(&|abar| abar),
            x,
            level,
            a: wide(each(&a))?,
            b: wide(each(&b))?,
            s,
        })
    }

    /// The noise in x_t that an answer, shaped as `self.x`, means.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn noise(&self, answer: Tensor) -> Result<Tensor> {
        let (x, a, b) = (&self.x, &self.a, &self.b);
        Ok(match self.prediction {
            Prediction::Eps => answer,
            Prediction::V => (answer.f_mul(a)?).f_add(&x.f_mul(b)?)?,
            Prediction::X0 => x.f_sub(&answer.f_mul(a)?)?.f_div(b)?,
            Prediction::Flow => x.f_add(&answer.f_mul(&self.s.f_neg()?.f_add_scalar(1.0)?)?)?,
            Prediction::Edm => x.f_sub(&answer)?.f_div(&self.s)?,
        })
    }

    /// What a row's answer is compared with, for a server that differentiates the loss: `target` [B, C, H, W] f32 and `scale` \[B\] f32,
    /// computed in f64, with mean (scale (answer - target))^2 = mean (`noise` - eps of the answer)^2. `noise`: eps in x_t, shaped as it.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn aim(&self, noise: &Tensor) -> Result<(Tensor, Tensor)> {
        // eps = u x + w answer, as `noise` has it.
        let of_row = |abar: &f64| -> (f64, f64) {
            let (a, b) = (abar.sqrt(), (1.0 - abar).sqrt());
            match self.prediction {
                Prediction::Eps => (0.0, 1.0),
                Prediction::V => (b, a),
                Prediction::X0 => (1.0 / b, -a / b),
                Prediction::Flow => (1.0, a / (a + b)),
                Prediction::Edm => (a / b, -a / b),
            }
        };
        let (u, w): (Vec<f64>, Vec<f64>) = self.abar.iter().map(of_row).unzip();
        let column = |values: &[f64]| -> Result<Tensor> {
            Ok(Tensor::from_slice(values)
                .f_view([-1, 1, 1, 1])?
                .f_to_device(noise.device())?)
        };
        let of_x = self.x.f_to_kind(Kind::Double)?.f_mul(&column(&u)?)?;
        let target = noise
            .f_to_kind(Kind::Double)?
            .f_sub(&of_x)?
            .f_div(&column(&w)?)?;
        let scale: Vec<f64> = w.iter().map(|w| w.abs()).collect();
        Ok((
            target.f_to_kind(Kind::Float)?,
            Tensor::from_slice(&scale).f_to_kind(Kind::Float)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::Device;

    /// The mean of x_0 given y = scale (x_0 + sigma eps), in f64: of N(mean, covariance), by the inverse of its covariance.
    fn of_gaussian(y: &Tensor, sigma: &[f64], mean: &Tensor, covariance: &Tensor) -> Tensor {
        let d = mean.numel() as i64;
        let rows: Vec<Tensor> = (sigma.iter().enumerate())
            .map(|(i, sigma)| {
                let noisy =
                    covariance + Tensor::eye(d, (Kind::Double, Device::Cpu)) * (sigma * sigma);
                let centred = (y.get(i as i64).view([d]) - mean).view([d, 1]);
                covariance
                    .matmul(&noisy.inverse().matmul(&centred))
                    .view([d])
                    + mean
            })
            .collect();
        Tensor::stack(&rows, 0).view_as(y)
    }

    /// The same of a finite set [M, D]: the mean of its points, each with the weight exp(-|y - x|^2 / 2 sigma^2).
    fn of_set(y: &Tensor, sigma: &[f64], set: &Tensor) -> Tensor {
        let rows: Vec<Tensor> = (sigma.iter().enumerate())
            .map(|(i, sigma)| {
                let apart = set - y.get(i as i64).view([1, -1]);
                let logits = apart
                    .square()
                    .sum_dim_intlist([1i64].as_slice(), false, Kind::Double)
                    / (-2.0 * sigma * sigma);
                logits
                    .softmax(0, Kind::Double)
                    .view([1, -1])
                    .matmul(set)
                    .view([-1])
            })
            .collect();
        Tensor::stack(&rows, 0).view_as(y)
    }

    /// What an exact network of each kind answers, from the mean of x_0 given its own input at its own level.
    fn answer(
        prediction: Prediction,
        schedule: &NoiseSchedule,
        question: &Question,
        x0: &dyn Fn(&Tensor, &[f64]) -> Tensor,
    ) -> Tensor {
        let x = &question.x;
        if prediction.is_discrete() {
            let t = Vec::<i64>::try_from(&question.level).unwrap();
            let abar: Vec<f64> = t.iter().map(|&t| schedule.alpha_bar(t)).collect();
            let of = |f: &dyn Fn(f64) -> f64| {
                Tensor::from_slice(&abar.iter().map(|&v| f(v)).collect::<Vec<_>>())
                    .view([-1, 1, 1, 1])
            };
            let (a, b) = (of(&|v| v.sqrt()), of(&|v| (1.0 - v).sqrt()));
            let sigma: Vec<f64> = abar.iter().map(|v| ((1.0 - v) / v).sqrt()).collect();
            let x0 = x0(&(x / &a), &sigma);
            let eps = (x - &x0 * &a) / &b;
            return match prediction {
                Prediction::Eps => eps,
                Prediction::V => eps * &a - x0 * &b,
                _ => x0,
            };
        }
        // A double in place of the f32 that is sent: what is compared is the formula.
        let level = question.s.view([-1]);
        let levels = Vec::<f64>::try_from(&level).unwrap();
        match prediction {
            Prediction::Flow => {
                // x_s = (1 - s) x_0 + s eps = (1 - s) (x_0 + s / (1 - s) eps), and dx_s/ds = eps - x_0 = (x_s - x_0) / s.
                let clean = Tensor::from_slice(&levels.iter().map(|s| 1.0 - s).collect::<Vec<_>>())
                    .view([-1, 1, 1, 1]);
                let sigma: Vec<f64> = levels.iter().map(|s| s / (1.0 - s)).collect();
                (x - x0(&(x / clean), &sigma)) / &question.s
            }
            _ => x0(x, &levels),
        }
    }

    fn equal_noise(x0: &dyn Fn(&Tensor, &[f64]) -> Tensor) {
        let schedule = NoiseSchedule::default();
        dualmd_torch::tch::manual_seed(3);
        let t = [0, 1, 20, 100, 258, 500, 900, 999];
        let x_t = Tensor::randn([t.len() as i64, 1, 2, 3], (Kind::Double, Device::Cpu));
        let t = Tensor::from_slice(&t);
        let noise = |prediction| {
            let question = Question::new(prediction, &schedule, &x_t, &t).unwrap();
            let answer = answer(prediction, &schedule, &question, x0);
            question.noise(answer).unwrap()
        };
        let eps = noise(Prediction::Eps);
        assert!(eps.abs().max().double_value(&[]) > 0.1);
        for prediction in Prediction::ALL {
            let apart = (noise(prediction) - &eps).abs() / (eps.abs() + 1.0);
            let apart = apart.max().double_value(&[]);
            assert!(apart < 1e-9, "{}: {apart}", prediction.name());
        }
    }

    #[test]
    fn exact_denoisers_of_a_gaussian_agree_whatever_they_predict() {
        let root = Tensor::randn([6, 6], (Kind::Double, Device::Cpu)) * 0.5;
        let covariance =
            root.matmul(&root.tr()) + Tensor::eye(6, (Kind::Double, Device::Cpu)) * 0.1;
        let mean = Tensor::from_slice(&[0.1, -0.2, 0.3, 0.0, 0.5, -0.7]);
        equal_noise(&|y, sigma| of_gaussian(y, sigma, &mean, &covariance));
    }

    #[test]
    fn exact_denoisers_of_a_memorised_set_agree_whatever_they_predict() {
        let set = Tensor::randn([5, 6], (Kind::Double, Device::Cpu)).clamp(-1.0, 1.0);
        equal_noise(&|y, sigma| of_set(y, sigma, &set));
    }

    /// The loss that a server computes is that of the noise its answer means, whatever it predicts.
    #[test]
    fn the_loss_of_an_answer_is_that_of_its_noise() {
        let schedule = NoiseSchedule::default();
        dualmd_torch::tch::manual_seed(4);
        let timesteps = [0i64, 1, 20, 100, 258, 500, 900, 999];
        let shape = [timesteps.len() as i64, 1, 2, 3];
        let draw = || Tensor::randn(shape, (Kind::Double, Device::Cpu));
        let (x_0, noise, answer) = (draw(), draw(), draw());
        let t = Tensor::from_slice(&timesteps);
        let (a, b) = schedule.coefficients(&t);
        let x_t = x_0 * a + &noise * b;
        for prediction in Prediction::ALL {
            let question = Question::new(prediction, &schedule, &x_t, &t).unwrap();
            let (target, scale) = question.aim(&noise).unwrap();
            assert_eq!((target.kind(), scale.size()), (Kind::Float, vec![8]));
            let there = (&answer - &target) * scale.view([-1, 1, 1, 1]);
            let here = &noise - question.noise(answer.shallow_clone()).unwrap();
            let apart = (there.abs() - here.abs()).abs() / (here.abs() + 1.0);
            let apart = apart.max().double_value(&[]);
            assert!(apart < 2e-5, "{}: {apart}", prediction.name());
        }
    }

    /// The same as [`levels_by_hand`]: what is compared, and by how much.
    #[test]
    fn targets_and_scales_by_hand() {
        let schedule = crate::hello::schedule_of(&[0.8, 0.64]).unwrap();
        let one = |value: f32| Tensor::from_slice(&[value]).view([1, 1, 1, 1]);
        // x_0 = 1 and eps = 1.
        let (x_t, noise) = (one(1.4), one(1.0));
        for (prediction, target, scale) in [
            (Prediction::Eps, 1.0, 1.0),
            (Prediction::V, 0.2, 0.8),
            (Prediction::X0, 1.0, 0.8 / 0.6),
            (Prediction::Flow, 0.0, 0.8 / 1.4),
            (Prediction::Edm, 1.0, 0.8 / 0.6),
        ] {
            let question =
                Question::new(prediction, &schedule, &x_t, &Tensor::from_slice(&[1i64])).unwrap();
            let found = question.aim(&noise).unwrap();
            let (found, by) = (
                found.0.double_value(&[0, 0, 0, 0]),
                found.1.double_value(&[0]),
            );
            assert!(
                (found - target).abs() < 1e-6 && (by - scale).abs() < 1e-6,
                "{}: {found}, {by}",
                prediction.name()
            );
        }
    }

    /// A folder's flow is asked what one behind the socket is asked, and its answer means the same.
    #[test]
    fn a_flow_of_a_folder_is_asked_the_same() {
        let (ddpm, flow) = (NoiseSchedule::default(), NoiseSchedule::flow());
        let x_t = Tensor::randn([4, 1, 2, 3], (Kind::Float, Device::Cpu));
        let t = Tensor::from_slice(&[0i64, 100, 258, 999]);
        let away = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        let question = Question::new(Prediction::Flow, &ddpm, &x_t, &t).unwrap();
        let (x, time) = flow.question(&x_t, &t);
        assert!(away(&question.x, &x) < 1e-5);
        assert!(away(&(&question.level * 1000.0), &time) < 1e-3);
        let answer = Tensor::randn([4, 1, 2, 3], (Kind::Float, Device::Cpu));
        let ours = flow.noise_of_output(answer.shallow_clone(), &x_t, &t);
        assert!(away(&question.noise(answer).unwrap(), &ours) < 1e-5);
    }

    /// field.md 1c, and a hand calculation: abar = 0.64 gives a = 0.8, b = 0.6.
    #[test]
    fn levels_by_hand() {
        let schedule = crate::hello::schedule_of(&[0.8, 0.64]).unwrap();
        let x_t = Tensor::from_slice(&[1.4f32]).view([1, 1, 1, 1]);
        let t = Tensor::from_slice(&[1i64]);
        let of = |prediction, out: f32| {
            let question = Question::new(prediction, &schedule, &x_t, &t).unwrap();
            let answer = Tensor::from_slice(&[out]).view([1, 1, 1, 1]);
            let value = |x: &Tensor| x.view([-1]).double_value(&[0]);
            (
                value(&question.x),
                value(&question.level),
                value(&question.noise(answer).unwrap()),
            )
        };
        // x_0 = 1 and eps = 1 give x_t = 1.4.
        let close = |got: (f64, f64, f64), want: (f64, f64, f64)| {
            for (a, b) in [(got.0, want.0), (got.1, want.1), (got.2, want.2)] {
                assert!((a - b).abs() < 1e-6, "{got:?} is not {want:?}");
            }
        };
        close(of(Prediction::Eps, 1.0), (1.4, 1.0, 1.0));
        close(of(Prediction::V, 0.2), (1.4, 1.0, 1.0));
        close(of(Prediction::X0, 1.0), (1.4, 1.0, 1.0));
        close(of(Prediction::Flow, 0.0), (1.0, 0.6 / 1.4, 1.0));
        close(of(Prediction::Edm, 1.0), (1.75, 0.75, 1.0));
        let middle = Question::new(
            Prediction::Flow,
            &NoiseSchedule::default(),
            &x_t,
            &Tensor::from_slice(&[258i64]),
        )
        .unwrap();
        assert!((middle.level.double_value(&[0]) - 0.5).abs() < 2e-3);
        assert!(
            Prediction::ALL
                .into_iter()
                .all(|p| Prediction::named(p.name()) == Some(p))
        );
        assert_eq!(Prediction::named("epsilon"), None);
    }
}
