//! The one interface everything turns on.

use crate::{DiffusionError, Result};
use dualmd_torch::{Device, Tensor};

/// What a conditional model is told besides the noisy image: a row for each image of the batch.
#[derive(Debug, Default)]
pub struct Condition {
    /// Text embedding, [B, tokens, width] f32.
    pub text: Option<Tensor>,
    /// Class, \[B\] i64: the number of its embedding. The embedding after the last class stands for no label ([`crate::Labels`]).
    pub label: Option<Tensor>,
    /// Embedding of the text as a whole, [B, width] f32: what Stable Diffusion XL is told beside that of its tokens.
    pub pooled: Option<Tensor>,
    /// Sizes in pixels, [B, 6] f32, told with it: height and width of the original image, top and left of the part that was cut out of
    /// it, height and width of that part.
    pub size: Option<Tensor>,
}

impl Condition {
    /// Texts, [B, tokens, width] f32.
    #[must_use]
    pub fn of_text(text: Tensor) -> Self {
        Self {
            text: Some(text),
            ..Self::default()
        }
    }

    /// Classes, \[B\] i64.
    #[must_use]
    pub fn of_labels(label: Tensor) -> Self {
        Self {
            label: Some(label),
            ..Self::default()
        }
    }

    /// What it may consist of, in a fixed order: text, label, pooled text, sizes.
    #[must_use]
    pub fn parts(&self) -> [Option<&Tensor>; 4] {
        [&self.text, &self.label, &self.pooled, &self.size].map(Option::as_ref)
    }

    /// The texts.
    ///
    /// # Errors
    /// There are none.
    pub fn texts(&self) -> Result<&Tensor> {
        self.text.as_ref().ok_or_else(|| {
            DiffusionError::Config(
                "this is for models that are told a text, and there is none".into(),
            )
        })
    }

    /// B; 0 where nothing is told.
    #[must_use]
    pub fn len(&self) -> i64 {
        let first = self.parts().into_iter().flatten().next();
        first.and_then(|t| t.size().first().copied()).unwrap_or(0)
    }

    /// Nothing at all is told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it lies; on the CPU where nothing is told.
    #[must_use]
    pub fn device(&self) -> Device {
        let first = self.parts().into_iter().flatten().next();
        first.map_or(Device::Cpu, Tensor::device)
    }

    /// What `change` makes of each part.
    #[must_use]
    pub fn each(&self, change: impl Fn(&Tensor) -> Tensor) -> Self {
        let [text, label, pooled, size] = self.parts().map(|part| part.map(&change));
        Self {
            text,
            label,
            pooled,
            size,
        }
    }

    /// As [`Self::each`], of a change that may fail.
    ///
    /// # Errors
    /// What `change` gives.
    pub fn try_each<E>(
        &self,
        change: impl Fn(&Tensor) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<Self, E> {
        Ok(Self {
            text: self.text.as_ref().map(&change).transpose()?,
            label: self.label.as_ref().map(&change).transpose()?,
            pooled: self.pooled.as_ref().map(&change).transpose()?,
            size: self.size.as_ref().map(&change).transpose()?,
        })
    }

    /// The same once more; storage is shared.
    #[must_use]
    pub fn again(&self) -> Self {
        self.each(Tensor::shallow_clone)
    }

    /// `n` rows from `first` on.
    #[must_use]
    pub fn narrow(&self, first: i64, n: i64) -> Self {
        self.each(|t| t.narrow(0, first, n))
    }

    /// The rows that `rows` \[K\] i64 names, which lies where this does.
    #[must_use]
    pub fn select(&self, rows: &Tensor) -> Self {
        self.each(|t| t.index_select(0, rows))
    }

    /// A single row, `n` times.
    ///
    /// # Errors
    /// Several rows.
    pub fn expand(&self, n: i64) -> Result<Self> {
        self.try_each(|t| -> Result<Tensor> {
            let mut size = t.size();
            if let Some(rows) = size.first_mut() {
                *rows = n;
            }
            Ok(t.f_expand(&size[..], false)?)
        })
    }

    /// These rows, then those of `other`, which tells the same kinds of things.
    ///
    /// # Errors
    /// Rows of other kinds or shapes.
    pub fn then(&self, other: &Self) -> Result<Self> {
        let both = |a: Option<&Tensor>, b: Option<&Tensor>| -> Result<Option<Tensor>> {
            match (a, b) {
                (None, None) => Ok(None),
                (Some(a), Some(b)) => Ok(Some(Tensor::f_cat(&[a, b], 0)?)),
                _ => Err(DiffusionError::Config(
                    "one condition tells something (a text, a class, a pooled text or sizes) that the other does not: a model is always told \
                     the same kinds of things"
                        .into(),
                )),
            }
        };
        Ok(Self {
            text: both(self.text.as_ref(), other.text.as_ref())?,
            label: both(self.label.as_ref(), other.label.as_ref())?,
            pooled: both(self.pooled.as_ref(), other.pooled.as_ref())?,
            size: both(self.size.as_ref(), other.size.as_ref())?,
        })
    }
}

/// Where in a sampling run a call stands. Attacks, which ask at arbitrary timesteps, have no such place.
#[derive(Debug, Clone, Copy)]
pub struct StepInfo<'a> {
    /// Denoising step, 0 for the first (noisiest).
    pub index: usize,
    /// Running number of each image of the batch within the whole set that is being generated.
    pub images: &'a [u64],
}

/// A question about the gradients of the loss of single samples. The loss of a row is mean (eps - eps(x_t, t, c))^2, over channels and
/// pixels; each sample has K rows, the samples stand one after the other.
#[derive(Debug, Clone, Copy)]
pub struct GradientQuestion<'a> {
    /// Noisy images, [B K, C, H, W] f32.
    pub x_t: &'a Tensor,
    /// Their timesteps, \[B K\] i64.
    pub t: &'a Tensor,
    /// The noise eps in them, shaped as `x_t`.
    pub noise: &'a Tensor,
    /// What the model is told of each row.
    pub condition: Option<&'a Condition>,
    /// B.
    pub samples: usize,
    /// Whether the gradient of each row is asked for, K backward passes for a sample, or that of a sample's mean loss alone, one pass.
    pub each: bool,
}

/// What a model without a velocity says to whoever asks for it.
pub(crate) fn no_flow() -> DiffusionError {
    DiffusionError::Config(
        "this model is no flow, and has no velocity: its scheduler is none of flow matching (FlowMatchEulerDiscreteScheduler)"
            .into(),
    )
}

/// A trained noise predictor eps(x_t, t, c): all that samplers and attacks may ask of a model.
pub trait Denoiser {
    /// `x_t`: [B, C, H, W] f32, in [-1, 1] at the clean end; `t`: \[B\] i64 in 0..T. Returns [B, C, H, W] f32.
    ///
    /// # Errors
    /// Shapes the network cannot take, or what the engine refuses.
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor>;

    /// The same within a sampling run. Only a model that behaves differently from step to step
    /// ([`crate::DualDenoiser`]) has a reason to look at `step`.
    ///
    /// # Errors
    /// As [`Denoiser::predict_noise`].
    fn predict_noise_in_step(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> Result<Tensor> {
        let _ = step;
        self.predict_noise(x_t, t, condition)
    }

    /// The velocity dx_s/ds = eps - x_0 of a flow at x_s = (1 - s) x_0 + s eps ([`crate::schedule::flow`]): what its sampler and its
    /// students ask for. `x_s`: [B, C, H, W] f32; `s`: \[B\] f32 in [0, 1], 0 at the image. Returns [B, C, H, W] f32.
    ///
    /// # Errors
    /// A model that is no flow; else as [`Denoiser::predict_noise`].
    fn predict_velocity(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let _ = (x_s, s, condition);
        Err(no_flow())
    }

    /// The same within a sampling run.
    ///
    /// # Errors
    /// As [`Denoiser::predict_velocity`].
    fn predict_velocity_in_step(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> Result<Tensor> {
        let _ = step;
        self.predict_velocity(x_s, s, condition)
    }

    /// The tensors that training would change, sharing storage with the model, in a fixed order: for attacks that
    /// take gradients. `None` of a model that has none or does not show them.
    fn weights(&self) -> Option<Vec<Tensor>> {
        None
    }

    /// Norms of the loss's gradients, for a model that keeps its weights to itself and differentiates elsewhere: [2, B, P] f64, for each
    /// sample and each of P parameter tensors the L2 norm of the gradient of the sample's mean loss; and the mean over its K rows of
    /// the norm of each row's gradient (without `each` the first again). P and the order are the same in every answer. `None` of a
    /// model that does not offer it; whoever has [`Denoiser::weights`] need not.
    ///
    /// # Errors
    /// Inside of `Some`: as [`Denoiser::predict_noise`], and what the model could not differentiate.
    fn gradient_norms(&self, question: &GradientQuestion<'_>) -> Option<Result<Tensor>> {
        let _ = question;
        None
    }
}

/// A question to a model: about the noise or about the velocity, within a sampling run or outside of one.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// About the velocity of a flow, and not about the noise.
    pub velocity: bool,
    /// Noisy images, [B, C, H, W] f32.
    pub x: &'a Tensor,
    /// Their timesteps, \[B\] i64; of a velocity their levels s, \[B\] f32.
    pub level: &'a Tensor,
    /// What the model is told.
    pub condition: Option<&'a Condition>,
    /// The step of a sampling run; none outside of one.
    pub step: Option<StepInfo<'a>>,
}

impl Question<'_> {
    /// What a model answers.
    ///
    /// # Errors
    /// As [`Denoiser::predict_noise`], or as [`Denoiser::predict_velocity`].
    pub fn put_to<D: Denoiser + ?Sized>(&self, model: &D) -> Result<Tensor> {
        let (x, level, told) = (self.x, self.level, self.condition);
        match (self.velocity, self.step) {
            (false, None) => model.predict_noise(x, level, told),
            (false, Some(step)) => model.predict_noise_in_step(x, level, told, step),
            (true, None) => model.predict_velocity(x, level, told),
            (true, Some(step)) => model.predict_velocity_in_step(x, level, told, step),
        }
    }
}

/// The four questions of a [`Denoiser`] by one method of the type, `fn answer(&self, question: Question<'_>) -> Result<Tensor>`: inside of
/// the implementation for a model that makes its answer of those of others, in the same way whatever is asked.
#[macro_export]
macro_rules! answers_alike {
    () => {
        fn predict_noise(
            &self,
            x: &dualmd_torch::Tensor,
            level: &dualmd_torch::Tensor,
            condition: Option<&$crate::Condition>,
        ) -> $crate::Result<dualmd_torch::Tensor> {
            self.answer($crate::Question {
                velocity: false,
                x,
                level,
                condition,
                step: None,
            })
        }

        fn predict_noise_in_step(
            &self,
            x: &dualmd_torch::Tensor,
            level: &dualmd_torch::Tensor,
            condition: Option<&$crate::Condition>,
            step: $crate::StepInfo<'_>,
        ) -> $crate::Result<dualmd_torch::Tensor> {
            self.answer($crate::Question {
                velocity: false,
                x,
                level,
                condition,
                step: Some(step),
            })
        }

        fn predict_velocity(
            &self,
            x: &dualmd_torch::Tensor,
            level: &dualmd_torch::Tensor,
            condition: Option<&$crate::Condition>,
        ) -> $crate::Result<dualmd_torch::Tensor> {
            self.answer($crate::Question {
                velocity: true,
                x,
                level,
                condition,
                step: None,
            })
        }

        fn predict_velocity_in_step(
            &self,
            x: &dualmd_torch::Tensor,
            level: &dualmd_torch::Tensor,
            condition: Option<&$crate::Condition>,
            step: $crate::StepInfo<'_>,
        ) -> $crate::Result<dualmd_torch::Tensor> {
            self.answer($crate::Question {
                velocity: true,
                x,
                level,
                condition,
                step: Some(step),
            })
        }
    };
}

/// What holds a denoiser is one: it asks what it holds.
macro_rules! held {
    ($holder:ty) => {
        impl<D: Denoiser + ?Sized> Denoiser for $holder {
            fn predict_noise(
                &self,
                x_t: &Tensor,
                t: &Tensor,
                condition: Option<&Condition>,
            ) -> Result<Tensor> {
                (**self).predict_noise(x_t, t, condition)
            }

            fn predict_noise_in_step(
                &self,
                x_t: &Tensor,
                t: &Tensor,
                condition: Option<&Condition>,
                step: StepInfo<'_>,
            ) -> Result<Tensor> {
                (**self).predict_noise_in_step(x_t, t, condition, step)
            }

            fn predict_velocity(
                &self,
                x_s: &Tensor,
                s: &Tensor,
                condition: Option<&Condition>,
            ) -> Result<Tensor> {
                (**self).predict_velocity(x_s, s, condition)
            }

            fn predict_velocity_in_step(
                &self,
                x_s: &Tensor,
                s: &Tensor,
                condition: Option<&Condition>,
                step: StepInfo<'_>,
            ) -> Result<Tensor> {
                (**self).predict_velocity_in_step(x_s, s, condition, step)
            }

            fn weights(&self) -> Option<Vec<Tensor>> {
                (**self).weights()
            }

            fn gradient_norms(&self, question: &GradientQuestion<'_>) -> Option<Result<Tensor>> {
                (**self).gradient_norms(question)
            }
        }
    };
}

held!(&D);
held!(Box<D>);
