//! The other side of the socket, for a model in Rust: answers `hello`, `predict`, `gradient` and `generate` until `bye` or the end of the
//! stream.

use crate::hello::table_of;
use crate::message::{self, SLACK, Writer};
use crate::{Prediction, RemoteError, Result, SOCKET, VERSION};
use dualmd_diffusion::{DiffusionError, Gradients, NoiseSchedule};
use dualmd_torch::{Kind, Tensor, no_grad, tch};
use std::os::unix::net::UnixStream;

/// Most images of a question.
const MOST_IMAGES: u64 = 1 << 16;

/// Answers, or says in words why it cannot.
pub type Answer = std::result::Result<Tensor, String>;

/// `predict`: x [B, C, H, W] f32 and levels \[B\] (i64 or f32) to what the network answers, shaped as x. It is called without gradients,
/// except for `gradient`.
pub type Predict<'a> = Box<dyn Fn(&Tensor, &Tensor) -> Answer + 'a>;

/// `generate`: seed, count and steps to images [count, C, H, W] f32 in [-1, 1].
pub type Generate<'a> = Box<dyn Fn(u64, i64, u64) -> Answer + 'a>;

/// A model of images, not latents, that can be served.
pub struct Served<'a> {
    /// What it is called.
    pub name: String,
    /// What tells its weights from others.
    pub fingerprint: Option<String>,
    /// [C, H, W].
    pub shape: [i64; 3],
    /// What it answers.
    pub prediction: Prediction,
    /// Its schedule, if it has one.
    pub schedule: Option<&'a NoiseSchedule>,
    /// The network.
    pub predict: Predict<'a>,
    /// Its sampler, if it has one.
    pub generate: Option<Generate<'a>>,
    /// The parameter tensors that `predict` computes with, in a fixed order ([`dualmd_diffusion::Denoiser::weights`]): then the server can
    /// `gradient`.
    pub weights: Option<Vec<Tensor>>,
}

impl std::fmt::Debug for Served<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Connects to the socket that [`SOCKET`] names, for a command that was started by `--denoiser`.
///
/// # Errors
/// It names none, or nobody listens there.
pub fn connected() -> Result<UnixStream> {
    let Some(path) = std::env::var_os(SOCKET) else {
        return Err(RemoteError::Message(format!(
            "{SOCKET} is not set: this command is started by dualmd audit --denoiser"
        )));
    };
    UnixStream::connect(path).map_err(RemoteError::Connection)
}

/// Answers until `bye` or the end of the stream.
///
/// # Errors
/// A stream that breaks, and what is no message.
pub fn serve(mut stream: UnixStream, model: &Served<'_>) -> Result<()> {
    let values = model.shape.iter().product::<i64>().unsigned_abs();
    let limit = values * 4 * MOST_IMAGES + SLACK;
    let (mut buffer, mut writer) = (Vec::new(), Writer::default());
    loop {
        let asked = match message::read(&mut stream, &mut buffer, limit, "any") {
            Err(RemoteError::Connection(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Ok(());
            }
            asked => asked?,
        };
        let kind = asked.kind();
        let answer = match kind {
            "bye" => return Ok(()),
            "hello" => {
                hello(&mut stream, &mut writer, model)?;
                continue;
            }
            "predict" => predicted(model, &asked).map(|made| ("prediction", made)),
            "gradient" => differentiated(model, &asked).map(|made| ("norms", made)),
            "generate" => generated(model, &asked).map(|made| ("images", made)),
            other => Err(format!("it does not know `{other}`")),
        };
        match answer {
            Ok((name, tensor)) => writer.send(&mut stream, kind, &[], &[(name, &tensor)])?,
            Err(words) => writer.send(&mut stream, "error", &[("message", words)], &[])?,
        }
    }
}

fn hello(stream: &mut UnixStream, writer: &mut Writer, model: &Served<'_>) -> Result<()> {
    let [c, h, w] = model.shape;
    let mut settings = vec![
        ("version", VERSION.to_string()),
        ("name", model.name.clone()),
        ("shape", format!("{c},{h},{w}")),
        ("prediction", model.prediction.name().to_owned()),
    ];
    if let Some(fingerprint) = &model.fingerprint {
        settings.push(("fingerprint", fingerprint.clone()));
    }
    let can: Vec<&str> = [
        ("generate", model.generate.is_some()),
        ("gradient", model.weights.is_some()),
    ]
    .into_iter()
    .filter_map(|(word, does)| does.then_some(word))
    .collect();
    if !can.is_empty() {
        settings.push(("can", can.join(",")));
    }
    let table = model.schedule.map(table_of);
    let tensors: Vec<(&str, &Tensor)> = table.iter().map(|t| ("alphas_cumprod", t)).collect();
    writer.send(stream, "hello", &settings, &tensors)
}

fn predicted(model: &Served<'_>, asked: &message::Message<'_>) -> Answer {
    let (x, level) = shown(model, asked)?;
    no_grad(|| (model.predict)(&x, &level))
}

/// What the network is to see: x and its levels.
fn shown(
    model: &Served<'_>,
    asked: &message::Message<'_>,
) -> std::result::Result<(Tensor, Tensor), String> {
    let [c, h, w] = model.shape;
    let images = asked.len_of("level").unwrap_or(0) as i64;
    let x = asked.tensor("x", &[Kind::Float], &[images, c, h, w])?;
    let kind = match model.prediction.is_discrete() {
        true => Kind::Int64,
        false => Kind::Float,
    };
    let level = asked.tensor("level", &[kind], &[images])?;
    Ok((x, level))
}

fn differentiated(model: &Served<'_>, asked: &message::Message<'_>) -> Answer {
    let Some(weights) = model.weights.as_ref().filter(|w| !w.is_empty()) else {
        return Err("this server shows no weights to differentiate by".into());
    };
    let (x, level) = shown(model, asked)?;
    let size = x.size();
    let rows = size.first().copied().unwrap_or(0);
    let target = asked.tensor("target", &[Kind::Float], &size)?;
    let scale = asked.tensor("scale", &[Kind::Float], &[rows])?;
    let samples = asked
        .setting("samples")
        .and_then(|text| text.parse::<i64>().ok());
    let Some(samples) = samples.filter(|&n| n > 0 && rows > 0 && rows % n == 0) else {
        return Err(format!(
            "gradient wants `samples`, a number above 0 that divides its {rows} rows"
        ));
    };
    let each = asked.setting("each") == Some("1");
    let compared = Compared {
        x,
        level,
        target,
        scale,
    };
    norms(model, weights, &compared, samples, each).map_err(|e| e.to_string())
}

/// Rows of a question about gradients, K of each sample.
struct Compared {
    x: Tensor,
    level: Tensor,
    target: Tensor,
    scale: Tensor,
}

/// [2, `samples`, P] f64, as [`Gradients::norms`] has them of each sample.
fn norms(
    model: &Served<'_>,
    weights: &[Tensor],
    compared: &Compared,
    samples: i64,
    each: bool,
) -> Result<Tensor> {
    let size = compared.x.size();
    let k = size.first().copied().unwrap_or(0) / samples;
    let by = Gradients::by(weights.iter().map(Tensor::shallow_clone).collect())?;
    let (mut all, mut mean_of) = (Vec::new(), Vec::new());
    for sample in 0..samples {
        let own = |tensor: &Tensor| tensor.f_narrow(0, sample * k, k);
        let x = own(&compared.x)?;
        let losses = tch::with_grad(|| -> Result<Tensor> {
            let made =
                (model.predict)(&x, &own(&compared.level)?).map_err(DiffusionError::Foreign)?;
            if made.size() != x.size() {
                return Err(RemoteError::Diffusion(DiffusionError::Shape {
                    what: "the network's answer",
                    expected: format!("{:?}", x.size()),
                    got: made.size(),
                }));
            }
            let scale = own(&compared.scale)?.f_view([-1, 1, 1, 1])?;
            let apart = made.f_sub(&own(&compared.target)?)?.f_mul(&scale)?;
            let squares = apart.f_square()?.f_flatten(1, -1)?;
            Ok(squares.f_mean_dim([1i64].as_slice(), false, Kind::Float)?)
        })?;
        let [first, second] = by.norms(&losses, each)?;
        all.extend(first);
        mean_of.extend(second);
    }
    all.extend(mean_of);
    Ok(Tensor::from_slice(&all).f_view([2, samples, weights.len() as i64])?)
}

fn generated(model: &Served<'_>, asked: &message::Message<'_>) -> Answer {
    let number = |name: &str| {
        asked
            .setting(name)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let (Some(seed), Some(count), Some(steps)) = (number("seed"), number("count"), number("steps"))
    else {
        return Err("generate wants a seed, a count and a number of steps".into());
    };
    match &model.generate {
        Some(generate) if count <= MOST_IMAGES => generate(seed, count as i64, steps),
        Some(_) => Err(format!("{count} images at once are too many")),
        None => Err("this server does not generate".into()),
    }
}
