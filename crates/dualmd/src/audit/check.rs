//! What an audit would do, what it would take, and what speaks against beginning: found out in seconds, before hours of work.

use super::asked;
use super::audited::{self, Audited};
use super::case::{Case, Sides};
use super::folder::{called, refuse_run};
use super::options::{AuditOptions, ScoreOptions};
use crate::choices::{Features, Order};
use crate::estimate::{Questions, at_a_time, timed};
use crate::machine;
use crate::reporter::duration;
use crate::session::Session;
use crate::stages::utility;
use anyhow::Result;
use dualmd_attack::Space;
use dualmd_audit::UNSEEN;
use dualmd_audit::format::counted;
use dualmd_diffusion::Denoiser;
use dualmd_names::AttackSpec;
use dualmd_torch::{Kind, Tensor, no_grad};
use std::time::Duration;

/// Non-members from which on a false-alarm rate of 1 % exists.
const FEWEST: usize = 100;

/// What was found out.
#[derive(Debug, Clone)]
pub struct Checked {
    /// All of it, line by line.
    pub lines: Vec<String>,
    /// The same in three lines: what would be done, what it takes, what to look at.
    pub summary: [String; 3],
}

/// Opens models and images, asks the network a few times, and says what would be audited, about how long it takes, how much memory it
/// held, and what a reader of the report would have to be warned of. Nothing is written.
///
/// # Errors
/// As [`audit()`](super::audit()): what cannot be opened, an image on both sides, sizes that do not fit, attacks that do not.
pub fn check(session: &Session, options: &AuditOptions) -> Result<Checked> {
    let args = &options.score;
    refuse_run(&options.out)?;
    let all = audited::audited(args, session.reporter.as_ref())?;
    let mut lines = Vec::new();
    let mut look: Vec<String> = Vec::new();
    let (mut images, mut number, mut work) = (String::new(), 0, Work::default());
    for one in &all {
        let case = Case::open(session, args, one)?;
        let model = case.generator.first();
        lines.push(format!("{}: {}", one.name, called(one, model)));
        if let Some(foreign) = model.foreign() {
            lines.push(format!("it says of itself: {}", foreign.describe()));
        }
        let attacks = asked::asked(args, one, model.is_told(), true)?;
        if images.is_empty() {
            images = described(&case.images);
            lines.push(format!("images: {images}"));
        }
        let names: Vec<String> = attacks.iter().map(ToString::to_string).collect();
        lines.push(format!("attacks on {}: {}", one.name, names.join(", ")));
        number = number.max(attacks.len());
        let notes = case.images.notes().into_iter().chain(model.notes());
        for said in warnings(&case.images, attacks.len(), args)
            .into_iter()
            .chain(notes)
        {
            if !look.contains(&said) {
                look.push(said);
            }
        }
        work = work.and(measured(session, args, one, &case, &attacks)?);
    }
    let took = work.described();
    lines.push(took.clone());
    lines.extend(look.iter().map(|said| format!("look at: {said}")));
    let models = match all.len() {
        1 => "1 model".to_owned(),
        n => format!("{n} models"),
    };
    let summary = [
        format!("{models}, {number} attacks; {images}"),
        took,
        match look.as_slice() {
            [] => "nothing speaks against beginning".to_owned(),
            some => format!("look at: {}", some.join("; ")),
        },
    ];
    Ok(Checked { lines, summary })
}

fn described(images: &Sides) -> String {
    format!(
        "{} members and {} non-members of {:?} (channels, height, width)",
        images.members.len(),
        images.nonmembers.len(),
        images.members.shape()
    )
}

/// What the report would have to warn of, as far as it is known beforehand.
fn warnings(images: &Sides, attacks: usize, args: &ScoreOptions) -> Vec<String> {
    let (members, others) = (images.members.len(), images.nonmembers.len());
    let mut out = Vec::new();
    let unseen =
        dualmd_stats::minimum_detectable_auc(members, others, 0.05 / attacks.max(1) as f64);
    if unseen > UNSEEN {
        out.push(format!(
            "few images: with {} and {} a leak below AUC {unseen:.2} would not be seen",
            counted(members, "member"),
            counted(others, "non-member")
        ));
    }
    if others < FEWEST {
        out.push(format!(
            "few non-members: with {others} no false-alarm rate of 1 % can be measured ({FEWEST} are needed, 1,000 for 0.1 %)"
        ));
    }
    out.extend(images.unlike());
    if args.features == Features::Auto && utility::efflite0_weights().is_none() {
        out.push(format!(
            "the quality of generated images will not be measured: `cargo xtask features`, in a source checkout, fetches the network for it, \
             or {} names its file",
            utility::WEIGHTS
        ));
    }
    out
}

/// What an audit takes.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    /// Seconds of generating images and of attacks; none where no network is asked.
    seconds: Option<[f64; 2]>,
    /// Images at a time while it was measured.
    batch: usize,
    /// Were as many asked at a time as the audit does?
    whole: bool,
}

impl Work {
    /// One after the other.
    fn and(self, next: Self) -> Self {
        let seconds = match (self.seconds, next.seconds) {
            (Some(a), Some(b)) => Some([a[0] + b[0], a[1] + b[1]]),
            (a, b) => a.or(b),
        };
        Self { seconds, ..next }
    }

    fn described(&self) -> String {
        let Some([drawing, attacks]) = self.seconds else {
            return "no network is asked: generated images are compared".to_owned();
        };
        let time = |seconds: f64| duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        let memory = match (machine::peak_rss_mb(), machine::memory_gb()) {
            (Some(held), Some(all)) => format!(
                "; {:.1} GB of {all:.1} GB memory held with {} at a time{}",
                held / 1e3,
                self.batch,
                match self.whole {
                    true => "",
                    false => ", fewer than the audit would take (--batch)",
                }
            ),
            _ => String::new(),
        };
        format!(
            "about {}: {} to generate images, {} for the attacks on this machine, beside image quality and statistics{memory}",
            time(drawing + attacks),
            time(drawing),
            time(attacks)
        )
    }
}

/// Network calls of the audit of one model: those of the images that are drawn, and those of attacks.
pub(super) fn calls(args: &ScoreOptions, case: &Case, attacks: &[AttackSpec]) -> [f64; 2] {
    let (model, images) = (case.generator.first(), &case.images);
    let scored = images.members.len() + images.nonmembers.len();
    let guided = model.is_told() && args.draw.guidance != 1.0;
    // What is given need not be generated.
    let drawn = |n: usize| match args.generated {
        Some(_) => 0.0,
        None => n as f64,
    };
    let captions: usize = images.texts().iter().flatten().map(|own| own.len()).sum();
    let asked = Questions {
        scored: scored as f64,
        captions: captions as f64 / scored.max(1) as f64,
        text: model.is_told(),
        space: match model.is_latent() {
            true => Space::Latent,
            false => Space::Pixels,
        },
        calls_per_image: args.draw.steps as f64 * if guided { 2.0 } else { 1.0 },
        images: drawn(args.draw.images),
        per_prompt: drawn(args.draw.per_prompt),
    };
    let attacking: f64 = attacks.iter().map(|attack| asked.attack(attack)).sum();
    [asked.drawing(), attacking]
}

/// Times a few calls of the network, and counts those of the audit.
fn measured(
    session: &Session,
    args: &ScoreOptions,
    one: &Audited,
    case: &Case,
    attacks: &[AttackSpec],
) -> Result<Work> {
    if one.images.is_some() {
        return Ok(Work::default());
    }
    let (model, images) = (case.generator.first(), &case.images);
    let device = session.engine.device;
    let cuda = device.is_cuda();
    let parameters = model.parameter_count().unwrap_or(0);
    let scored = images.members.len() + images.nonmembers.len();
    let whole = args.batch.min(scored);
    let batch = at_a_time(whole, parameters, cuda, model.is_told());
    let seen = images.members.shape().map(|d| d as i64);
    let [channels, height, width] = model.sample_shape().unwrap_or(seen);
    let n = batch as i64;
    let size = [n, channels, height, width];
    let x = Tensor::f_zeros(&size[..], (Kind::Float, device))?;
    let middle = (model.schedule().len() / 2) as i64;
    let t = Tensor::f_full(&[n][..], middle, (Kind::Int64, device))?;
    let texts = images.texts();
    let told = match &texts {
        Some(texts) => {
            let first = texts.first().and_then(|own| own.first());
            let words = vec![first.map_or("", String::as_str); batch];
            Some(no_grad(|| model.told(&words))?)
        }
        None => None,
    };
    // Of a pair, both are of the same kind, and an answer is one model's.
    let alone;
    let network: &dyn Denoiser = match case.generator.pair() {
        Some([first, _]) => first,
        None => {
            alone = case.generator.denoiser(Order::First, Vec::new(), args.seed);
            alone.as_ref()
        }
    };
    let call = timed(cuda, || {
        let eps = no_grad(|| network.predict_noise(&x, &t, told.as_ref()))?;
        Ok(eps.f_sum(Kind::Float)?.double_value(&[]))
    })? / batch.max(1) as f64;
    let [drawing, attacking] = calls(args, case, attacks).map(|calls| call * calls);
    Ok(Work {
        seconds: Some([drawing, attacking]),
        batch,
        whole: batch == whole,
    })
}
