//! For `--dry-run`: about how long a study takes on this machine. The time of a network call and of a training step is measured on a few
//! of them; everything else is counted. An estimate, and printed as one.

use anyhow::Result;
use dualmd::Session;
use dualmd::estimate::{IMAGE_BY_IMAGE, at_a_time, timed};
pub use dualmd::estimate::{Speed, Work, work};
use dualmd::experiment::Experiment;
use dualmd::plan::{JobKind, Plan, grouped};
use dualmd::reporter::duration;
use dualmd::stages::{prepare, text};
use dualmd_defense::Network;
use dualmd_diffusion::{Backbone, Condition, Keep};
use dualmd_names::Defense;
use dualmd_torch::weights::Halves;
use dualmd_torch::{Kind, Tensor, no_grad};
use std::time::Duration;

/// Measures a few calls and steps of the experiment's network on random numbers.
///
/// # Errors
/// A network that cannot be built or opened; what the device refuses.
pub fn measure(experiment: &Experiment, shape: [usize; 3], session: &Session) -> Result<Speed> {
    let engine = session.engine.to_train(experiment.train.dtype)?;
    let (network, condition, input): (Box<dyn Network>, Option<Condition>, [i64; 3]) = if experiment
        .is_text()
    {
        let origin = text::origin(experiment, shape, Halves::Widened, engine.device)?;
        let told = no_grad(|| origin.told(&["a picture"]))?;
        let seen = origin.sample_shape().unwrap_or(shape.map(|d| d as i64));
        let network = origin.unet.with_precision(engine.precision);
        (Box::new(network), Some(told), seen)
    } else {
        // How many classes there are changes no time worth naming.
        let labels = experiment.data.labels;
        let config = prepare::network(experiment, shape, labels.then_some(1))?;
        let network = Backbone::fresh(&config, 0, engine.device)?.with_precision(engine.precision);
        let first = Tensor::from_slice(&[0i64]).to_device(engine.device);
        let told = labels.then(|| Condition::of_labels(first));
        (Box::new(network), told, shape.map(|d| d as i64))
    };
    let cuda = engine.device.is_cuda();
    let whole = experiment
        .train
        .batch
        .div_ceil(experiment.train.accumulate.max(1));
    let parameters = network.parameters().count();
    let batch = at_a_time(whole, parameters, cuda, experiment.is_text());
    let size = [batch as i64, input[0], input[1], input[2]];
    let x = Tensor::f_randn(&size[..], (Kind::Float, engine.device))?;
    let t = Tensor::f_full(&[batch as i64][..], 500_i64, (Kind::Int64, engine.device))?;
    let told = match condition {
        Some(one) => Some(one.expand(batch as i64)?),
        None => None,
    };
    let call = timed(cuda, || {
        let eps = no_grad(|| network.predict_noise(&x, &t, told.as_ref()))?;
        Ok(eps.f_sum(Kind::Float)?.double_value(&[]))
    })?;
    for weight in network.parameters().tensors() {
        let _ = weight.f_set_requires_grad(true)?;
    }
    let keep = match experiment.train.gradient_checkpointing {
        true => Keep::Checkpoints,
        false => Keep::Everything,
    };
    let training = timed(cuda, || {
        let pass = network.forward_training(&x, &t, told.as_ref(), keep)?;
        let loss = pass.output().f_square()?.f_mean(Kind::Float)?;
        let value = loss.double_value(&[]);
        pass.backward(&loss)?;
        Ok(value)
    })?;
    Ok(Speed {
        call: call / batch as f64,
        training: training / batch as f64,
        batch,
    })
}

/// For people: steps, and hours by what was measured.
pub fn describe(what: &str, work: &Work, speed: &Speed, plan: &Plan) -> Vec<String> {
    let [train, draw, attack] = work.seconds(speed);
    let hours = |seconds: f64| duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
    let private = plan
        .trainings
        .iter()
        .any(|j| matches!(j.kind, JobKind::DpSgd { .. }));
    let mut out = vec![format!(
        "{what}: {} training steps; estimated on this machine: {} of training, {} of drawing images, {} of attacks (one after the other, on what this \
         process may use; {:.2} ms an image for a network call and {:.2} ms in a training step, measured {} at a time)",
        grouped(work.steps),
        hours(train),
        hours(draw),
        hours(attack),
        1e3 * speed.call,
        1e3 * speed.training,
        speed.batch
    )];
    if private {
        out.push(format!(
            "{what}: {} is counted as {IMAGE_BY_IMAGE} times its draws an image of an ordinary step, as measured on a small network",
            Defense::DpSgd
        ));
    }
    if train > 0.0 && attack > 2.0 * train {
        out.push(format!(
            "{what}: the attacks take {:.1} times as long as the trainings; --set audit.attacks=[...] names fewer",
            attack / train
        ));
    }
    out
}
