//! What a server says of its model.

use crate::message::{Message, SLACK};
use crate::{Prediction, RemoteError, Result, VERSION};
use dualmd_diffusion::NoiseSchedule;
use dualmd_diffusion::schedule::SchedulerConfig;
use dualmd_torch::{Kind, Tensor};

/// Most timesteps of a schedule, as in a folder's.
const MOST_TIMESTEPS: usize = 100_000;
/// Most values of an image: as 3 channels of 4096 x 4096 pixels.
const MOST_VALUES: i64 = 3 * 4096 * 4096;
/// Most letters of a name or fingerprint.
const MOST_LETTERS: usize = 200;

/// Bytes of the longest answer to `hello`.
pub(crate) const LIMIT: u64 = MOST_TIMESTEPS as u64 * 8 + SLACK;

/// What a server can do beside `predict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// `generate`: it draws images itself.
    pub generate: bool,
    /// `encode`: it makes latents of images.
    pub encode: bool,
    /// `decode`: it makes images of latents.
    pub decode: bool,
    /// `texts`: it is told a text with each image.
    pub texts: bool,
    /// `gradient`: it answers with the norms of the loss's gradients.
    pub gradient: bool,
    /// `base`: it predicts also as what the model was trained on top of, such as a LoRA's base.
    pub base: bool,
}

/// A server's description of its model.
#[derive(Debug)]
pub struct Hello {
    /// What the model is called in reports.
    pub name: Option<String>,
    /// Whatever tells these weights from others, such as a hash of the file.
    pub fingerprint: Option<String>,
    /// [C, H, W] of what the network sees, images or latents.
    pub shape: [i64; 3],
    /// [C, H, W] of the images; another shape than that of a network which sees latents.
    pub image_shape: [i64; 3],
    /// What it answers.
    pub prediction: Prediction,
    /// Its noise schedule; DDPM's where it named none.
    pub schedule: NoiseSchedule,
    /// Whether the server named the schedule.
    pub own_schedule: bool,
    /// Images that the program draws by asking for predictions are clipped to [-clip, clip] at every step.
    pub clip: Option<f64>,
    /// Scalar parameters of the network, where it says.
    pub parameters: Option<usize>,
    /// What else it can do.
    pub can: Abilities,
}

impl Hello {
    /// What an answer to `hello` says.
    ///
    /// # Errors
    /// Another version; what is missing or makes no sense, with what it may be.
    pub fn of(message: &Message<'_>) -> Result<Self> {
        let wrong = |reason: String| RemoteError::Hello(reason);
        // First: what follows may be another in another version.
        let version = message.setting("version").unwrap_or("none");
        if version != VERSION.to_string() {
            return Err(RemoteError::Version(version.to_owned()));
        }
        let needed = |name: &str, what: &str| {
            let missing = || wrong(format!("hello has no `{name}`: give {what}"));
            message.setting(name).ok_or_else(missing)
        };
        let what = "channels, height and width of what the model sees, as in \"3,32,32\"";
        let shape = read_shape(needed("shape", what)?)?;
        let image_shape = match message.setting("image_shape") {
            None => shape,
            Some(text) => read_shape(text)?,
        };
        // Words of later programs are passed over: what is not known is not asked for.
        let said = message.setting("can").unwrap_or_default();
        let can = |ability: &str| said.split(',').any(|word| word.trim() == ability);
        let can = Abilities {
            generate: can("generate"),
            encode: can("encode"),
            decode: can("decode"),
            texts: can("texts"),
            gradient: can("gradient"),
            base: can("base"),
        };
        if image_shape != shape && !(can.encode && (can.generate || can.decode)) {
            return Err(wrong(format!(
                "the model sees {shape:?} and its images are of {image_shape:?}, so the server must be able to `encode`, and to `decode` or \
                 `generate`: it says that it can \"{said}\""
            )));
        }
        let names = Prediction::ALL.map(Prediction::name).join(", ");
        let prediction = needed("prediction", &format!("what the model answers ({names})"))?;
        let prediction = Prediction::named(prediction).ok_or_else(|| {
            wrong(format!(
                "prediction \"{prediction}\" is not known: it is one of {names}"
            ))
        })?;
        let own_schedule = message.len_of("alphas_cumprod").is_some();
        let schedule = match message.len_of("alphas_cumprod") {
            None => NoiseSchedule::default(),
            Some(n) if n > MOST_TIMESTEPS => {
                return Err(wrong(format!(
                    "alphas_cumprod has {n} timesteps: at most {MOST_TIMESTEPS} are possible"
                )));
            }
            Some(n) => {
                let table = message
                    .tensor("alphas_cumprod", &[Kind::Float, Kind::Double], &[n as i64])
                    .map_err(|e| wrong(format!("hello {e}")))?;
                schedule_of(&Vec::<f64>::try_from(table.f_to_kind(Kind::Double)?)?)?
            }
        };
        let text = |name: &str| -> Result<Option<String>> {
            match message.setting(name) {
                None | Some("") => Ok(None),
                Some(long) if long.chars().count() > MOST_LETTERS => Err(wrong(format!(
                    "{name} has more than {MOST_LETTERS} letters: give a shorter one"
                ))),
                Some(text) => Ok(Some(text.to_owned())),
            }
        };
        let clip = match message.setting("clip") {
            None => None,
            Some(text) => match text.parse::<f64>() {
                Ok(clip) if clip > 0.0 && clip.is_finite() => Some(clip),
                _ => {
                    return Err(wrong(format!(
                        "clip \"{text}\" is no number above 0: leave it out where nothing is clipped"
                    )));
                }
            },
        };
        let parameters = message.setting("parameters").map(|text| {
            text.parse().map_err(|_| {
                wrong(format!(
                    "parameters \"{text}\" is no number: leave it out where it is not known"
                ))
            })
        });
        Ok(Self {
            name: text("name")?,
            fingerprint: text("fingerprint")?,
            shape,
            image_shape,
            prediction,
            schedule,
            own_schedule,
            clip,
            parameters: parameters.transpose()?,
            can,
        })
    }
}

/// `3,32,32`.
fn read_shape(text: &str) -> Result<[i64; 3]> {
    let sides: Option<Vec<i64>> = text
        .split(',')
        .map(|side| side.trim().parse().ok())
        .collect();
    let wrong = |why: &str| {
        RemoteError::Hello(format!(
            "shape \"{text}\" {why}: give channels, height and width, as in \"3,32,32\""
        ))
    };
    let sides: [i64; 3] = sides
        .and_then(|sides| sides.try_into().ok())
        .ok_or_else(|| wrong("is not three numbers"))?;
    let values = sides.iter().try_fold(1i64, |product, &side| {
        product.checked_mul(side).filter(|_| side > 0)
    });
    match values {
        Some(values) if values <= MOST_VALUES => Ok(sides),
        Some(_) => Err(wrong("has more values than images do")),
        None => Err(wrong("holds a side that none can have")),
    }
}

/// The schedule of a table of abar_t, whose values fall from just below 1 towards 0.
///
/// # Errors
/// A value that is not between 0 and the one before.
pub fn schedule_of(alphas_cumprod: &[f64]) -> Result<NoiseSchedule> {
    let mut before = 1.0;
    let mut betas = Vec::with_capacity(alphas_cumprod.len());
    for (t, &abar) in alphas_cumprod.iter().enumerate() {
        if !(abar > 0.0 && abar < before) {
            return Err(RemoteError::Hello(format!(
                "alphas_cumprod[{t}] = {abar} must lie between 0 and {}, both excluded: it is the share of the image's variance in x_t, and \
                 falls with t",
                match t {
                    0 => "1".to_owned(),
                    _ => format!("the one before, {before}"),
                }
            )));
        }
        betas.push(1.0 - abar / before);
        before = abar;
    }
    Ok(NoiseSchedule::new(SchedulerConfig {
        num_train_timesteps: betas.len(),
        trained_betas: Some(betas),
        ..SchedulerConfig::default()
    })?)
}

/// abar_t of a schedule, \[T\] f64, for a server.
pub fn table_of(schedule: &NoiseSchedule) -> Tensor {
    let table: Vec<f64> = (0..schedule.len() as i64)
        .map(|t| schedule.alpha_bar(t))
        .collect();
    Tensor::from_slice(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Writer;

    fn hello(settings: &[(&str, &str)], table: Option<&Tensor>) -> Result<Hello> {
        let settings: Vec<(&str, String)> = settings
            .iter()
            .map(|(k, v)| (*k, (*v).to_owned()))
            .collect();
        let tensors: Vec<(&str, &Tensor)> =
            table.into_iter().map(|t| ("alphas_cumprod", t)).collect();
        let mut writer = Writer::default();
        let bytes = writer.encode("hello", &settings, &tensors)?;
        Hello::of(&Message::parse(&bytes[8..])?)
    }

    const PLAIN: [(&str, &str); 3] = [
        ("version", "1"),
        ("shape", "3,32,32"),
        ("prediction", "eps"),
    ];

    #[test]
    fn a_server_says_what_it_has_and_the_rest_is_ddpm() {
        let plain = hello(&PLAIN, None).unwrap();
        assert_eq!(
            (plain.shape, plain.prediction),
            ([3, 32, 32], Prediction::Eps)
        );
        assert!(plain.name.is_none() && plain.schedule.len() == 1000);
        assert!(!plain.can.generate && !plain.can.gradient && !plain.can.base);
        let more = [
            &PLAIN[..],
            &[
                ("name", "mine"),
                ("can", "sing, generate, gradient,base"),
                ("clip", "1.0"),
                ("parameters", "5"),
            ],
        ]
        .concat();
        let more = hello(&more, Some(&table_of(&NoiseSchedule::default()))).unwrap();
        assert!(
            more.can.generate
                && more.can.gradient
                && more.can.base
                && more.own_schedule
                && more.clip == Some(1.0)
                && more.parameters == Some(5)
        );
        for t in [0, 1, 500, 999] {
            let (ours, theirs) = (
                NoiseSchedule::default().alpha_bar(t),
                more.schedule.alpha_bar(t),
            );
            assert!((ours - theirs).abs() < 1e-12, "{t}: {ours} {theirs}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named_with_what_helps() {
        let with = |key: &str, value: &str| {
            let mut settings: Vec<(&str, &str)> = PLAIN.to_vec();
            settings.retain(|(k, _)| *k != key);
            settings.push((key, value));
            hello(&settings, None).unwrap_err().to_string()
        };
        for (key, value, words) in [
            (
                "version",
                "2",
                "version 2 of the protocol, and this dualmd version 1",
            ),
            ("shape", "3,32", "not three numbers"),
            ("shape", "3,32,-1", "a side that none can have"),
            (
                "shape",
                "3,4611686018427387904,4",
                "a side that none can have",
            ),
            ("shape", "3,100000,100000", "more values"),
            ("prediction", "epsilon", "eps, v, x0, flow, edm"),
            ("clip", "-1", "leave it out"),
            ("parameters", "many", "leave it out"),
            ("image_shape", "3,64,64", "must be able to `encode`"),
        ] {
            let error = with(key, value);
            assert!(error.contains(words), "{key} = {value}: {error}");
        }
        let long = "x".repeat(201);
        assert!(with("name", &long).contains("shorter"));
        let error = hello(&PLAIN[..2], None).unwrap_err().to_string();
        assert!(error.contains("no `prediction`"), "{error}");
        for (table, words) in [
            (vec![0.9, 0.95], "alphas_cumprod[1] = 0.95"),
            (vec![1.0, 0.5], "alphas_cumprod[0] = 1"),
            (vec![0.5, 0.0], "between 0"),
            (vec![f64::NAN, 0.5], "NaN"),
            (vec![0.5], "num_train_timesteps"),
        ] {
            let error = hello(&PLAIN, Some(&Tensor::from_slice(&table)))
                .unwrap_err()
                .to_string();
            assert!(error.contains(words), "{table:?}: {error}");
        }
        let whole = Tensor::from_slice(&[1i64, 2]);
        let error = hello(&PLAIN, Some(&whole)).unwrap_err().to_string();
        assert!(error.contains("must be f32 or f64"), "{error}");
    }
}
