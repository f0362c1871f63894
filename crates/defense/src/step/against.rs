//! A step of a training against an attacker ([`crate::smp`]).

use super::{Batch, finite_loss};
use crate::Result;
use crate::optimizer::Optimizer;
use crate::smp::{Attacker, FLOOR, Smp};
use crate::trainer::{Additions, Trainer};
use dualmd_data::stream;
use dualmd_torch::{Kind, Tensor, no_grad};
use rand::Rng;

impl Trainer<'_> {
    /// Lets the attacker learn from the errors of this step, and adds this rank's part in the gradient of L / (beta + alpha A + 1e-5) to the
    /// parameters'; returns L, of all ranks. `whole`: rows of all ranks.
    ///
    /// With D for what L is divided by, the gradient is that of L / D - A alpha L / D^2 with D and L taken for numbers: sums over the ranks
    /// give these, and each goes back through its own rows.
    pub(super) fn backward_against(
        &self,
        smp: &Smp,
        batch: Option<&Batch>,
        whole: i64,
        optimizer: &mut Optimizer,
        step: u64,
        additions: &Additions,
    ) -> Result<f64> {
        let pass = batch.map(|batch| self.pass(batch)).transpose()?;
        let errors = match (batch, &pass) {
            (Some(batch), Some(pass)) => Some(errors(batch, pass.output())?),
            _ => None,
        };
        let others = self.errors_of_others(smp, step, additions)?;
        let members = errors.iter().map(|e| (e.detach(), true));
        let shown: Vec<(Tensor, bool)> = members.chain(others.map(|e| (e, false))).collect();
        let against = smp.against();
        let attacker = self.attacker(smp, optimizer)?;
        let rows = whole + self.options.batch as i64;
        for _ in 0..against.steps {
            attacker.learn(&shown, rows as f64, against.rate, &self.ranks)?;
        }
        attacker.carry(optimizer);
        let parts = match &errors {
            Some(errors) => {
                let share = errors.size()[0] as f64 / whole as f64;
                let loss = errors.f_mean(Kind::Float)?.f_mul_scalar(share)?;
                let surprise = attacker.surprise(errors, true)?;
                Some([loss, surprise.f_div_scalar(whole as f64)?])
            }
            None => None,
        };
        let own = match &parts {
            Some([loss, _]) => finite_loss(loss.double_value(&[]), step),
            None => Ok(0.0),
        };
        let loss = self.together(own, step)?;
        let surprise = parts.as_ref().map_or(0.0, |[_, a]| a.double_value(&[]));
        let mut surprise = [surprise];
        self.ranks.sum_f64(&mut surprise)?;
        let over = against.beta + against.alpha * surprise[0] + FLOOR;
        if let (Some(pass), Some([own, seen])) = (pass, &parts) {
            let all = own.f_div_scalar(over)?;
            let seen = seen.f_mul_scalar(against.alpha * loss / (over * over))?;
            pass.backward(&all.f_sub(&seen)?)?;
        }
        Ok(loss)
    }

    /// The attacker as the training has it so far.
    pub(crate) fn attacker(&self, smp: &Smp, optimizer: &Optimizer) -> Result<Attacker> {
        let size = self.set.images.size();
        let values = size.iter().skip(1).product();
        Attacker::of(optimizer, values, smp.seed(), self.device)
    }

    /// The errors of this rank's part of the other images, made as those of members are; `None` where it has no part.
    fn errors_of_others(
        &self,
        smp: &Smp,
        step: u64,
        additions: &Additions,
    ) -> Result<Option<Tensor>> {
        let draw = smp.draw_others(step, self.options.batch);
        if self.ranks.share(draw.images.len()).is_empty() {
            return Ok(None);
        }
        // Noise and timesteps of their own.
        let seed = stream(self.seed, "train/others-seed", 0).random();
        let batch = self.batch(&draw, 1, seed, step, additions)?;
        no_grad(|| {
            let pass = self.pass(&batch)?;
            Ok(Some(errors(&batch, pass.output())?.detach()))
        })
    }
}

/// The squares of the errors of each row, value by value: [rows, D] f32.
fn errors(batch: &Batch, out: &Tensor) -> Result<Tensor> {
    Ok(batch.errors(out)?.f_to_kind(Kind::Float)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Indices;
    use crate::Recipe;
    use crate::smp::Against;
    use crate::step::tests::{IMAGES, flat, norm, trainer};
    use dualmd_torch::{Device, noise};

    const AGAINST: Against = Against {
        alpha: 2.0,
        beta: 0.5,
        rate: 1e-3,
        steps: 2,
    };

    fn smp(others: std::ops::Range<usize>) -> Smp {
        Smp::new((0..4).collect(), others.collect(), AGAINST, 5).unwrap()
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// The gradient of the quotient, by autograd of the quotient: with the attacker as it is after its steps.
    #[test]
    fn the_gradient_is_that_of_the_quotient_and_makes_members_less_conspicuous() {
        let (smp, none) = (smp(4..IMAGES), Additions::default());
        let trainer = trainer(&smp);
        trainer.check(&none).unwrap();
        let mut optimizer = Optimizer::new(trainer.network.parameters());
        let draw = smp.draw(0, IMAGES);
        let batch = trainer.batch(&draw, 1, trainer.seed, 0, &none).unwrap();
        let n = IMAGES as i64;
        let loss = trainer
            .backward_against(&smp, Some(&batch), n, &mut optimizer, 0, &none)
            .unwrap();
        let found = flat(&optimizer.gradients());
        let attacker = trainer.attacker(&smp, &optimizer).unwrap();
        let gradient = |optimizer: &mut Optimizer, of: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            optimizer.forget();
            let pass = trainer.pass(&batch).unwrap();
            let errors = errors(&batch, pass.output()).unwrap();
            let surprise = attacker.surprise(&errors, true).unwrap() / n as f64;
            let whole = of(&errors.mean(Kind::Float), &surprise);
            let value = whole.double_value(&[]);
            pass.backward(&whole).unwrap();
            (value, flat(&optimizer.gradients()))
        };
        let (alpha, beta) = (AGAINST.alpha, AGAINST.beta);
        let quotient = |l: &Tensor, a: &Tensor| l / (a * alpha + beta + FLOOR);
        let (_, wanted) = gradient(&mut optimizer, &quotient);
        let off: Vec<f64> = found.iter().zip(&wanted).map(|(a, b)| a - b).collect();
        assert!(norm(&off) < 1e-5 * norm(&wanted), "{}", norm(&off));
        let (plain, of_loss) = gradient(&mut optimizer, &|l, _| l.shallow_clone());
        let (surprise, of_surprise) = gradient(&mut optimizer, &|_, a| a.shallow_clone());
        assert!((loss - plain).abs() < 1e-6 && surprise > 0.0);
        // A step against it surprises the attacker more than an ordinary step of the same size.
        let over = beta + alpha * surprise + FLOOR;
        assert!(dot(&found, &of_surprise) < dot(&of_loss, &of_surprise) / over);
        assert!(norm(&of_surprise) > 0.0);
    }

    /// The other images teach the attacker, and nothing else of them comes near the model.
    #[test]
    fn other_images_come_to_the_model_by_the_attacker_alone() {
        let none = Additions::default();
        let gradient = |others: std::ops::Range<usize>, rate: f64| {
            let against = Against { rate, ..AGAINST };
            let smp = Smp::new((0..4).collect(), others.collect(), against, 5).unwrap();
            let trainer = trainer(&smp);
            // A fresh network answers nothing, and its errors are the noise, whatever the image.
            for (name, tensor) in trainer.network.parameters().named() {
                let drawn = noise::normal(&mut stream(2, name, 0), &tensor.size(), Device::Cpu);
                let _ = no_grad(|| tensor.shallow_clone().f_add_(&(drawn * 0.1)).unwrap());
            }
            let mut optimizer = Optimizer::new(trainer.network.parameters());
            let draw = smp.draw(0, IMAGES);
            let batch = trainer.batch(&draw, 1, trainer.seed, 0, &none).unwrap();
            let n = IMAGES as i64;
            let loss = trainer.backward_against(&smp, Some(&batch), n, &mut optimizer, 0, &none);
            assert!(loss.unwrap().is_finite());
            flat(&optimizer.gradients())
        };
        let away = |a: &[f64], b: &[f64]| {
            let off: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            norm(&off) / norm(a)
        };
        // An attacker that hardly learns is hardly another one.
        let (still, too) = (gradient(4..6, 1e-12), gradient(6..8, 1e-12));
        assert!(away(&still, &too) < 1e-6);
        let (one, other) = (gradient(4..6, 1e-2), gradient(6..8, 1e-2));
        assert!(away(&one, &other) > 1e-6);
    }

    #[test]
    fn what_contradicts_it_is_refused() {
        let (smp, none) = (smp(4..IMAGES), Additions::default());
        let mut trainer = trainer(&smp);
        trainer.set.heldout = vec![5].into();
        let said = trainer.check(&none).unwrap_err().to_string();
        assert!(said.contains("image 5 is audited"), "{said}");
        trainer.set.heldout = Indices::default();
        trainer.options.accumulate = 2;
        let said = trainer.check(&none).unwrap_err().to_string();
        assert!(said.contains("train.accumulate"), "{said}");
    }
}
