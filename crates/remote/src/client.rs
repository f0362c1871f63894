//! The denoiser in another process.

use crate::Place;
use crate::hello::{self, Hello};
use crate::levels::Question;
use crate::message::Message;
use crate::server::Server;
use crate::{Prediction, RemoteError, Result, VERSION};
use dualmd_data::stream;
use dualmd_diffusion::schedule::flow;
use dualmd_diffusion::{
    Asked, Condition, Denoiser, DiffusionError, Foreign, GradientQuestion, NoiseSchedule,
};
use dualmd_torch::{Device, Kind, Tensor, noise};
use rand::Rng as _;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Bytes of an f32.
const BYTES: u64 = 4;
/// Most parameter tensors of a network, of each of which an answer to `gradient` has two numbers for a sample. The largest have some
/// thousands.
const MOST_PARAMETER_TENSORS: u64 = 1 << 16;

/// A model that is asked over a socket. What it answers becomes eps at DDPM's levels ([`crate::levels`]).
#[derive(Debug)]
pub struct RemoteDenoiser {
    hello: Arc<Hello>,
    place: String,
    fingerprint: String,
    /// Those of the base are these, since one condition is shown to both.
    texts: Arc<Mutex<Texts>>,
    /// Of how many parameter tensors its first answer to `gradient` was.
    parameter_tensors: OnceLock<usize>,
    server: Arc<Mutex<Open>>,
    /// Is it the model without what was trained on top of it?
    base: bool,
}

/// What the model is, as the plan of an audit has it.
#[derive(Serialize)]
struct Described<'a> {
    /// Where it is.
    denoiser: &'a str,
    name: Option<&'a str>,
    fingerprint: Option<&'a str>,
    prediction: &'static str,
    /// Of what the network sees.
    shape: [i64; 3],
    image_shape: [i64; 3],
    timesteps: usize,
    /// Whose noise schedule.
    schedule: &'static str,
    /// Does it draw images itself?
    generates: bool,
    /// Does it answer with the norms of gradients?
    gradients: bool,
    /// Is it told a text with each image?
    texts: bool,
    /// Version of the protocol.
    protocol: u32,
}

/// The texts that stand in conditions by their numbers.
#[derive(Debug, Default)]
struct Texts {
    all: Vec<String>,
    numbers: HashMap<String, usize>,
}

/// Numbers of a text's row: which text it is, and 64 bits of its hash, by which a reader of the row alone tells texts apart.
const WIDTH: usize = 5;
/// Most texts: numbers that an f32 can say.
const MOST_TEXTS: usize = 1 << 24;

#[derive(Debug)]
struct Open {
    server: Server,
    /// The last answer, whose memory the next one takes.
    buffer: Vec<u8>,
    /// Why nothing can be asked any more.
    broken: Option<String>,
}

impl RemoteDenoiser {
    /// Starts or finds the server, says hello, and asks one question, whose answer tells these weights from others where the server
    /// names no fingerprint. `timeout`: for each answer, the first of which may take the loading of the model.
    ///
    /// # Errors
    /// A command that fails, a socket where nobody listens, a server of another version, a description that makes no sense.
    pub fn open(place: &Place, timeout: Duration) -> Result<Self> {
        let mut server = Server::open(place, timeout)?;
        let mut buffer = Vec::new();
        let settings = [
            ("version", VERSION.to_string()),
            (
                "program",
                concat!("dualmd ", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
        ];
        let answer = server.ask(&mut buffer, "hello", &settings, &[], hello::LIMIT)?;
        let hello = Hello::of(&answer)?;
        let mut denoiser = Self {
            hello: Arc::new(hello),
            place: place.shown(),
            fingerprint: String::new(),
            texts: Arc::default(),
            parameter_tensors: OnceLock::new(),
            server: Arc::new(Mutex::new(Open {
                server,
                buffer,
                broken: None,
            })),
            base: false,
        };
        denoiser.fingerprint = denoiser.identified()?;
        Ok(denoiser)
    }

    /// What the model was trained on top of, such as the base of a LoRA: a reference model. It is asked over the same connection, for predictions
    /// alone. None where the server has none.
    #[must_use]
    pub fn base(&self) -> Option<Self> {
        let has = self.hello.can.base && !self.base;
        has.then(|| Self {
            hello: Arc::clone(&self.hello),
            place: self.place.clone(),
            fingerprint: blake3::hash(format!("{} base", self.fingerprint).as_bytes())
                .to_hex()
                .to_string(),
            texts: Arc::clone(&self.texts),
            parameter_tensors: OnceLock::new(),
            server: Arc::clone(&self.server),
            base: true,
        })
    }

    /// What the server says of its model.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// BLAKE3 over what the model is: what hello says, with the server's own fingerprint, or where it names none the model's answer
    /// to one fixed question. Other weights have another one.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How it was named: the command, or `unix:PATH`.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Is it gone? Nothing that is asked then is answered.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        let asked = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        asked.broken.is_some()
    }

    fn identified(&self) -> Result<String> {
        let hello = &self.hello;
        let mut hasher = blake3::Hasher::new();
        // What it can do decides what is drawn and asked, so that belongs to it.
        let said = format!(
            "{:?} {:?} {} {:?} {:?} {:?}\n",
            hello.shape,
            hello.image_shape,
            hello.prediction.name(),
            hello.can,
            hello.clip,
            hello.fingerprint
        );
        hasher.update(said.as_bytes());
        for t in 0..hello.schedule.len() as i64 {
            hasher.update(&hello.schedule.alpha_bar(t).to_le_bytes());
        }
        if hello.fingerprint.is_none() {
            let [c, h, w] = hello.shape;
            let x = noise::normal(
                &mut stream(0, "remote/probe", 0),
                &[2, c, h, w],
                Device::Cpu,
            );
            let last = hello.schedule.len() as i64 - 1;
            let eps = self.ask(&x, &Tensor::from_slice(&[last / 10, last / 2]), None)?;
            for value in Vec::<f32>::try_from(&eps.f_flatten(0, -1)?)? {
                hasher.update(&value.to_le_bytes());
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The texts that a condition of `n` rows stands for, as JSON.
    fn told(&self, condition: &Condition, n: i64) -> Result<String> {
        let rows = condition.texts().map_err(RemoteError::Diffusion)?;
        let shape = [n, 1, WIDTH as i64];
        if rows.size() != shape {
            return Err(RemoteError::Diffusion(DiffusionError::Shape {
                what: "texts for the denoiser",
                expected: format!("{shape:?}, rows of its own text_embeddings"),
                got: rows.size(),
            }));
        }
        let numbers = Vec::<f64>::try_from(
            rows.f_select(2, 0)?
                .f_flatten(0, -1)?
                .f_to_kind(Kind::Double)?,
        )?;
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Option<Vec<&str>> = (numbers.iter())
            .map(|&number| texts.all.get(number as usize).map(String::as_str))
            .collect();
        all.map(|all| json!(all).to_string()).ok_or_else(|| {
            RemoteError::Diffusion(DiffusionError::Config(
                "a condition holds a text that this denoiser was never told".into(),
            ))
        })
    }

    /// eps of `x_t` [B, C, H, W] f32 at `t` \[B\] i64.
    fn ask(&self, x_t: &Tensor, t: &Tensor, condition: Option<&Condition>) -> Result<Tensor> {
        let (question, settings) = self.question(x_t, t, condition)?;
        let (size, bytes) = (x_t.size(), question.x.numel() as u64 * BYTES);
        let answer = self.answer(
            "predict",
            &settings,
            &[("level", &question.level), ("x", &question.x)],
            bytes,
            ("prediction", &size),
        )?;
        question.noise(answer.f_to_device(x_t.device())?)
    }

    /// What the network is asked of `x_t` at `t`, and the settings of the question.
    fn question(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<(Question, Vec<(&'static str, String)>)> {
        let hello = &self.hello;
        let size = x_t.size();
        let [c, h, w] = hello.shape;
        let (Some(&rows), true) = (size.first(), size.get(1..) == Some(&[c, h, w])) else {
            return Err(RemoteError::Diffusion(DiffusionError::Shape {
                what: "images for the denoiser",
                expected: format!("[B, {c}, {h}, {w}], the shape that its hello names"),
                got: size,
            }));
        };
        let question = Question::new(hello.prediction, &hello.schedule, x_t, t)?;
        let mut settings = Vec::new();
        // Models of images alone do not look at a condition.
        if let Some(condition) = condition.filter(|_| hello.can.texts) {
            settings.push(("texts", self.told(condition, rows)?));
        }
        if self.base {
            settings.push(("base", "1".to_owned()));
        }
        Ok((question, settings))
    }

    /// Norms of gradients, [2, B, P] f64: [`Denoiser::gradient_norms`].
    fn differentiated(&self, asked: &GradientQuestion<'_>) -> Result<Tensor> {
        let (question, mut settings) = self.question(asked.x_t, asked.t, asked.condition)?;
        let (rows, samples) = (question.level.numel(), asked.samples);
        let whole = samples > 0 && rows > 0 && rows % samples == 0;
        if !whole || asked.x_t.size().first() != Some(&(rows as i64)) {
            return Err(RemoteError::Diffusion(DiffusionError::Shape {
                what: "rows whose gradients are asked for",
                expected: format!(
                    "as many timesteps, and the same number for each of {samples} samples"
                ),
                got: asked.x_t.size(),
            }));
        }
        if asked.noise.size() != asked.x_t.size() {
            return Err(RemoteError::Diffusion(DiffusionError::Shape {
                what: "noise whose gradients are asked for",
                expected: format!("{:?}, as the noisy images", asked.x_t.size()),
                got: asked.noise.size(),
            }));
        }
        let (target, scale) = question.aim(asked.noise)?;
        settings.push(("samples", samples.to_string()));
        settings.push(("each", u8::from(asked.each).to_string()));
        let tensors = [
            ("level", &question.level),
            ("scale", &scale),
            ("target", &target),
            ("x", &question.x),
        ];
        // Two halves of f64, twice as long as an f32.
        let bytes = 2 * samples as u64 * MOST_PARAMETER_TENSORS * 2 * BYTES;
        self.asked("gradient", &settings, &tensors, bytes, |answer| {
            self.norms(answer, samples)
        })
    }

    /// The norms in an answer to `gradient`, if they can be norms of this model.
    fn norms(&self, answer: &Message<'_>, samples: usize) -> Result<Tensor> {
        let wrong = |reason| RemoteError::Answer {
            asked: "gradient".into(),
            reason,
        };
        let right =
            format!("[2, {samples}, P], P the number of the parameter tensors and at least 1");
        let p = match answer.shape_of("norms").as_deref() {
            Some(&[2, b, p]) if b == samples && p > 0 => p,
            Some(other) => {
                return Err(wrong(format!(
                    "`norms` is of shape {other:?} and must be of {right}"
                )));
            }
            None => {
                return Err(wrong(format!(
                    "has no tensor `norms`: send one of shape {right}"
                )));
            }
        };
        let before = *self.parameter_tensors.get_or_init(|| p);
        if p != before {
            return Err(wrong(format!(
                "`norms` is of {p} parameter tensors, and an earlier answer was of {before}: send those of the same tensors in the same \
                 order each time, 0 for one that takes no part"
            )));
        }
        let shape = [2, samples as i64, p as i64];
        let norms = (answer.tensor("norms", &[Kind::Double], &shape)).map_err(wrong)?;
        // By samples.
        if let Some(what) = not_finite(&norms.f_transpose(0, 1)?)? {
            return Err(wrong(what));
        }
        if f64::try_from(norms.f_min()?)? < 0.0 {
            return Err(wrong(
                "`norms` has a number below 0: send L2 norms, and not their logarithms".into(),
            ));
        }
        Ok(norms)
    }

    /// Images to latents or back: x [B, ...] f32, each of one shape, to as many of another.
    fn turned(
        &self,
        kind: &str,
        x: &Tensor,
        (from, name, to): ([i64; 3], &str, [i64; 3]),
    ) -> Result<Tensor> {
        let size = x.size();
        let (Some(&b), true) = (size.first(), size.get(1..) == Some(&from)) else {
            return Err(RemoteError::Diffusion(DiffusionError::Shape {
                what: "what the denoiser is to encode or decode",
                expected: format!("[B, {}, {}, {}]", from[0], from[1], from[2]),
                got: size,
            }));
        };
        let shape = [b, to[0], to[1], to[2]];
        let bytes = shape.iter().product::<i64>().unsigned_abs() * BYTES;
        let x = x.f_to_kind(Kind::Float)?;
        let made = self.answer(kind, &[], &[("x", &x)], bytes, (name, &shape))?;
        Ok(made.f_to_device(x.device())?)
    }

    /// The one tensor, f32 of a known name and shape, with which a question is answered.
    fn answer(
        &self,
        kind: &str,
        settings: &[(&str, String)],
        tensors: &[(&str, &Tensor)],
        bytes: u64,
        (name, shape): (&str, &[i64]),
    ) -> Result<Tensor> {
        let wrong = |reason| RemoteError::Answer {
            asked: kind.to_owned(),
            reason,
        };
        self.asked(kind, settings, tensors, bytes, |answer| {
            let tensor = answer.tensor(name, &[Kind::Float], shape).map_err(wrong)?;
            match not_finite(&tensor)? {
                Some(what) => Err(wrong(what)),
                None => Ok(tensor),
            }
        })
    }

    /// What `read` makes of the answer to a question. `bytes`: of the tensors of the longest right one.
    fn asked<T>(
        &self,
        kind: &str,
        settings: &[(&str, String)],
        tensors: &[(&str, &Tensor)],
        bytes: u64,
        read: impl FnOnce(&Message<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut asked = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let Open {
            server,
            buffer,
            broken,
        } = &mut *asked;
        if let Some(why) = broken {
            return Err(RemoteError::Broken(why.clone()));
        }
        let answer = match server.ask(buffer, kind, settings, tensors, bytes) {
            Ok(answer) => answer,
            // It could not do it, and can be asked the next thing.
            Err(error @ RemoteError::Refused { .. }) => return Err(error),
            Err(error) => {
                *broken = Some(error.to_string());
                return Err(error);
            }
        };
        read(&answer)
    }
}

/// What is wrong with the values of a tensor [B, ...] f32; nothing if all are finite.
fn not_finite(tensor: &Tensor) -> Result<Option<String>> {
    if tensor.numel() == 0 {
        return Ok(None);
    }
    // One pass at the speed of memory; a NaN is handed on.
    let (least, most) = tensor.f_aminmax(None::<i64>, false)?;
    if f64::try_from(least)?.is_finite() && f64::try_from(most)?.is_finite() {
        return Ok(None);
    }
    let wrong = tensor.f_isfinite()?.f_logical_not()?.f_flatten(1, -1)?;
    let count = i64::try_from(wrong.f_sum(Kind::Int64)?)?;
    let images = wrong.f_any_dim(1, false)?.f_to_kind(Kind::Int64)?;
    let first = i64::try_from(images.f_argmax(None::<i64>, false)?)?;
    Ok(Some(format!(
        "{count} of its {} values are NaN or infinite, the first of them in image {first} of the batch: the model overflows (half precision?) \
         or was given inputs out of its range",
        tensor.numel()
    )))
}

impl Denoiser for RemoteDenoiser {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> dualmd_diffusion::Result<Tensor> {
        Ok(self.ask(x_t, t, condition)?)
    }

    fn gradient_norms(
        &self,
        question: &GradientQuestion<'_>,
    ) -> Option<dualmd_diffusion::Result<Tensor>> {
        let can = self.hello.can.gradient && !self.base;
        can.then(|| self.differentiated(question).map_err(DiffusionError::from))
    }
}

impl Foreign for RemoteDenoiser {
    fn schedule(&self) -> &NoiseSchedule {
        &self.hello.schedule
    }

    fn is_told(&self) -> bool {
        self.hello.can.texts
    }

    fn text_embeddings(&self, texts: &[&str]) -> dualmd_diffusion::Result<Tensor> {
        let mut known = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<f32> = Vec::with_capacity(texts.len() * WIDTH);
        for &text in texts {
            let number = match known.numbers.get(text) {
                Some(&number) => number,
                None => {
                    let number = known.all.len();
                    if number == MOST_TEXTS {
                        return Err(DiffusionError::Config(format!(
                            "more than {MOST_TEXTS} texts: audit fewer images at a time"
                        )));
                    }
                    known.all.push(text.to_owned());
                    known.numbers.insert(text.to_owned(), number);
                    number
                }
            };
            rows.push(number as f32);
            let hash = blake3::hash(text.as_bytes());
            let pairs = hash.as_bytes().chunks_exact(2).take(WIDTH - 1);
            rows.extend(pairs.map(|pair| f32::from(u16::from_le_bytes([pair[0], pair[1]]))));
        }
        Ok(Tensor::from_slice(&rows).f_view([texts.len() as i64, 1, WIDTH as i64])?)
    }

    fn sample_shape(&self) -> [i64; 3] {
        self.hello.shape
    }

    fn image_shape(&self) -> [i64; 3] {
        self.hello.image_shape
    }

    fn encode(&self, images: &Tensor) -> dualmd_diffusion::Result<Tensor> {
        let hello = &self.hello;
        Ok(self.turned(
            "encode",
            images,
            (hello.image_shape, "latents", hello.shape),
        )?)
    }

    fn decode(&self, latents: &Tensor) -> dualmd_diffusion::Result<Tensor> {
        let hello = &self.hello;
        Ok(self.turned(
            "decode",
            latents,
            (hello.shape, "images", hello.image_shape),
        )?)
    }

    fn clip(&self) -> Option<f64> {
        self.hello.clip
    }

    fn parameter_count(&self) -> Option<usize> {
        self.hello.parameters
    }

    fn describe(&self) -> Value {
        let hello = &self.hello;
        let schedule = match hello.own_schedule {
            true => "its own",
            false => "DDPM's linear one of 1,000 steps",
        };
        let described = Described {
            denoiser: &self.place,
            name: hello.name.as_deref(),
            fingerprint: hello.fingerprint.as_deref(),
            prediction: hello.prediction.name(),
            shape: hello.shape,
            image_shape: hello.image_shape,
            timesteps: hello.schedule.len(),
            schedule,
            generates: hello.can.generate,
            gradients: hello.can.gradient,
            texts: hello.can.texts,
            protocol: VERSION,
        };
        serde_json::to_value(described).unwrap_or_default()
    }

    fn notes(&self) -> Vec<String> {
        let own = match self.hello.prediction {
            Prediction::Eps | Prediction::V | Prediction::X0 => return Vec::new(),
            Prediction::Flow => flow::NOTE,
            Prediction::Edm => {
                "the model answers as EDM does, with an image. Its noise is the distance to that image, divided by sigma, which is 0.01 at t = 0 \
                 of DDPM's schedule: what attacks see at small t are the last digits of its answers"
            }
        };
        vec![own.to_owned()]
    }

    fn generates(&self) -> bool {
        self.hello.can.generate && !self.base
    }

    fn generate(&self, asked: &Asked<'_>) -> dualmd_diffusion::Result<Tensor> {
        let [c, h, w] = self.hello.image_shape;
        let count = asked.count;
        let shape = [count as i64, c, h, w];
        let bytes = shape.iter().product::<i64>().unsigned_abs() * BYTES;
        // Below 2^53, for languages whose numbers are doubles.
        let seed = stream(asked.seed, "remote/generate", asked.first).random::<u64>() >> 11;
        let mut settings = vec![
            ("seed", seed.to_string()),
            ("count", count.to_string()),
            ("steps", asked.steps.to_string()),
        ];
        if let Some((texts, guidance)) = asked.texts {
            settings.push(("texts", json!(texts).to_string()));
            settings.push(("guidance", guidance.to_string()));
        }
        let images = self.answer("generate", &settings, &[], bytes, ("images", &shape))?;
        Ok(images.f_clamp(-1.0, 1.0)?)
    }
}
