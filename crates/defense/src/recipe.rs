//! What a defence changes of the training loop: which images a step draws, and what the target is.

use crate::dp::DpSgd;
use crate::{Ambient, Indices, Iterative, Result, Smp};
use dualmd_diffusion::{Condition, Denoiser};
use dualmd_torch::device::bring;
use dualmd_torch::{Kind, Tensor};

/// What the network learns to predict in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The noise that was added (paper Eq. 3), or the true velocity of a flow.
    Noise,
    /// The prediction of frozen teachers (Eq. 7): for each image of the batch, which teacher, by the number that
    /// [`Recipe::teach`] understands.
    Teacher(Vec<usize>),
}

/// One step's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// Indices into the training set.
    pub images: Vec<usize>,
    /// What to predict for them.
    pub target: Target,
}

/// A way to train. Everything else - schedule, optimiser, EMA, checkpoints, logging - is the trainer's.
pub trait Recipe {
    /// The images this model learns from (as inputs or with their noise), for the logged member loss.
    fn members(&self) -> Indices;

    /// The draw of step `step` (0-based): a pure function of `step`.
    fn draw(&self, step: u64, batch: usize) -> Draw;

    /// The target of the teachers named in [`Target::Teacher`], who are told what the student is told: [B, C, H, W], no
    /// gradient. `t` \[B\]: timesteps as i64, and the teachers answer with the noise in `x_t`; or levels s of a flow's path as f32,
    /// and they answer with the velocity at x_t = x_s.
    ///
    /// # Errors
    /// What a teacher refuses.
    fn teach(
        &self,
        teachers: &[usize],
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor>;

    /// The images whose loss is logged as the member loss: [`Recipe::members`], unless what leaks is not what is drawn
    /// (a student of generated images is watched on the real ones).
    fn watched(&self) -> Indices {
        self.members()
    }

    /// Clipping and noise, for a recipe that promises differential privacy: the loop then clips the gradient of each image.
    fn private(&self) -> Option<&DpSgd> {
        None
    }

    /// Noise of the images' own, for a recipe that shows them no cleaner than that where much noise lies on them.
    fn ambient(&self) -> Option<&Ambient> {
        None
    }

    /// The attacker that is in the loss, for a recipe that trains against one.
    fn adversary(&self) -> Option<&Smp> {
        None
    }

    /// Turns and rounds, for a recipe that trains on shards in turn and averages the weights.
    fn iterative(&self) -> Option<&Iterative> {
        None
    }
}

/// What a teacher says of `x`: the noise at timesteps (i64), the velocity at levels of a flow (f32).
///
/// # Errors
/// What the teacher refuses; levels of one that is no flow.
pub(crate) fn answer(
    teacher: &dyn Denoiser,
    x: &Tensor,
    t: &Tensor,
    condition: Option<&Condition>,
) -> Result<Tensor> {
    Ok(match t.kind() {
        Kind::Int64 => teacher.predict_noise(x, t, condition)?,
        _ => teacher.predict_velocity(x, t, condition)?,
    })
}

/// The rows of a batch that belong to each teacher, put through it and back in place.
///
/// # Errors
/// What a teacher refuses.
pub(crate) fn by_teacher(
    which: &[usize],
    x_t: &Tensor,
    t: &Tensor,
    condition: Option<&Condition>,
    teachers: &[Box<dyn Denoiser>],
) -> Result<Tensor> {
    let _guard = dualmd_torch::tch::no_grad_guard();
    if let Some(&only) = which.first()
        && which.iter().all(|&w| w == only)
    {
        return answer(teachers[only].as_ref(), x_t, t, condition);
    }
    let out = x_t.zeros_like();
    for (index, teacher) in teachers.iter().enumerate() {
        let rows: Vec<i64> = (0..which.len())
            .filter(|&i| which[i] == index)
            .map(|i| i as i64)
            .collect();
        if rows.is_empty() {
            continue;
        }
        let rows = bring(&Tensor::from_slice(&rows), x_t.device());
        let said = answer(
            teacher.as_ref(),
            &x_t.index_select(0, &rows),
            &t.index_select(0, &rows),
            rows_of(condition, &rows).as_ref(),
        )?;
        let _ = out.shallow_clone().index_copy_(0, &rows, &said);
    }
    Ok(out)
}

/// The condition of these rows of a batch.
pub(crate) fn rows_of(condition: Option<&Condition>, rows: &Tensor) -> Option<Condition> {
    condition.map(|c| c.select(rows))
}
