//! What an audit would do, what it would take, and what speaks against beginning: found out in seconds, before hours of work.

use super::asked;
use super::audited::{self, Audited};
use super::case::{Case, Sides};
use super::folder::{called, check_place, differs, hash_of, refuse_strangers};
use super::options::{AuditOptions, ScoreOptions};
use crate::bail_usage;
use crate::choices::{Features, Order};
use crate::estimate::{Questions, at_a_time, timed};
use crate::machine;
use crate::reporter::{duration, meanwhile};
use crate::session::Session;
use crate::stages::beforehand::{impossible, without_network};
use crate::stages::utility;
use crate::whole::{AuditWork, compares};
use anyhow::Result;
use dualmd_attack::Space;
use dualmd_audit::UNSEEN;
use dualmd_audit::format::counted;
use dualmd_data::{FileFacts, ImageSet};
use dualmd_diffusion::Denoiser;
use dualmd_files::shown;
use dualmd_names::AttackSpec;
use dualmd_record::RunFolder;
use dualmd_record::plan::AuditPlan;
use dualmd_torch::{Kind, Tensor, no_grad};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Non-members from which on a false-alarm rate of 1 % exists.
const FEWEST: usize = 100;

/// What was found out. As JSON it is what `--check --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// What would be audited.
    pub models: Vec<CheckedModel>,
    /// Members.
    pub n_members: usize,
    /// Non-members.
    pub n_nonmembers: usize,
    /// Channels, height and width of the images as the audit would use them.
    pub shape: [usize; 3],
    /// About how many seconds it takes to generate images on this machine; none where no network is asked.
    pub seconds_to_generate: Option<f64>,
    /// The same of the attacks. Image quality, copies, controls and statistics come on top.
    pub seconds_to_attack: Option<f64>,
    /// Images that the network was asked about at a time; 0 where none is asked.
    pub batch: usize,
    /// Were as many asked about at a time as the audit does?
    pub whole_batch: bool,
    /// The most memory that the program held meanwhile, in GB; none where no network is asked or it is not known.
    pub held_gb: Option<f64>,
    /// The machine's memory in GB, where it is known.
    pub memory_gb: Option<f64>,
    /// What speaks against beginning: a sentence each.
    pub problems: Vec<String>,
    /// All of it for people, line by line.
    pub lines: Vec<String>,
    /// The same in three lines: what would be done, what it takes, what to look at.
    #[serde(skip)]
    pub summary: [String; 3],
}

/// A model that would be audited.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedModel {
    /// Its name in files.
    pub name: String,
    /// Where it is, and what it calls itself.
    pub described: String,
    /// What a model in another process says of itself; none of a folder.
    pub says: Option<serde_json::Value>,
    /// The attacks, by their names.
    pub attacks: Vec<String>,
}

/// Opens models and images, asks the network a few times, and says what would be audited, about how long it takes, how much memory it
/// held, and what a reader of the report would have to be warned of. Nothing is written.
///
/// # Errors
/// As [`audit()`](super::audit()): what cannot be opened, an image on both sides, sizes that do not fit, attacks that do not, a folder that
/// the audit could not be written to.
pub fn check(session: &Session, options: &AuditOptions) -> Result<Checked> {
    let args = &options.score;
    check_place(args, &options.out)?;
    let run = RunFolder(options.out.clone());
    let all = audited::audited(args, session.reporter.as_ref())?;
    refuse_strangers(&run, &all)?;
    let before: Option<AuditPlan> = dualmd_record::read_if_usable(&run.plan())?;
    let mut marks = Vec::new();
    let mut lines = Vec::new();
    let mut look: Vec<String> = Vec::new();
    let (mut images, mut number, mut work) = (String::new(), 0, Work::default());
    let mut sides = <[String; 2]>::default();
    let (mut models, mut sizes) = (Vec::new(), (0, 0, [0; 3]));
    for one in &all {
        let case = meanwhile(session.reporter.as_ref(), &one.name, "opening", || {
            Case::open(session, args, one)
        })?;
        let model = case.generator.first();
        let described = called(one, model);
        lines.push(format!("{}: {described}", one.name));
        let says = model.foreign().map(|foreign| foreign.describe());
        if let Some(says) = &says {
            lines.push(format!("it says of itself: {says}"));
        }
        let attacks = asked::asked(args, one, model.is_told(), true, case.reference.is_some())?;
        let mut late = impossible(&attacks, model.schedule(), model.is_latent());
        let (features, weights) = case.features();
        let size = case.images.sides();
        let unmeasured = match utility::extractor(features, weights, size, case.engine.device) {
            Ok(network) => {
                late.extend(without_network(attacks.iter(), network.as_deref()));
                None
            }
            Err(why) => Some(format!("--features: {why:#}")),
        };
        // Some that fail leave a report of the others.
        if !late.is_empty() && late.len() == attacks.len() {
            bail_usage!("{}", late.join("; "));
        }
        marks.push((one.name.as_str(), case.generator.fingerprint().to_owned()));
        if images.is_empty() {
            images = in_words(&case.images);
            let (members, others) = (&case.images.members, &case.images.nonmembers);
            sizes = (members.len(), others.len(), members.shape());
            lines.push(format!("images: {images}"));
            sides = [&case.images.members, &case.images.nonmembers].map(hash_of);
        }
        let names: Vec<String> = attacks.iter().map(ToString::to_string).collect();
        lines.push(format!("attacks on {}: {}", one.name, names.join(", ")));
        number = number.max(attacks.len());
        let notes = case.images.notes().into_iter().chain(model.notes());
        let notes = notes.chain(case.unchecked.clone());
        for said in warnings(&case.images, attacks.len(), args)
            .into_iter()
            .chain(notes)
            .chain(late)
            .chain(unmeasured)
        {
            if !look.contains(&said) {
                look.push(said);
            }
        }
        work = work.and(measured(session, args, one, &case, &attacks)?);
        models.push(CheckedModel {
            name: one.name.clone(),
            described,
            says,
            attacks: names,
        });
    }
    if let Some(other) = before.and_then(|before| differs(&before, &marks, &sides)) {
        look.push(format!(
            "{} holds an earlier audit of {other}: its scores and its report will be written over (-o names another folder)",
            shown(&options.out)
        ));
    }
    let took = work.described();
    lines.push(took.clone());
    lines.extend(look.iter().map(|said| format!("look at: {said}")));
    let summary = [
        format!(
            "{}, {number} attacks; {images}",
            counted(all.len(), "model")
        ),
        took,
        match look.as_slice() {
            [] => "nothing speaks against beginning".to_owned(),
            some => format!("look at: {}", some.join("; ")),
        },
    ];
    let (n_members, n_nonmembers, shape) = sizes;
    let held = machine::peak_rss_mb().filter(|_| work.seconds.is_some());
    Ok(Checked {
        models,
        n_members,
        n_nonmembers,
        shape,
        seconds_to_generate: work.seconds.map(|[drawing, _]| drawing),
        seconds_to_attack: work.seconds.map(|[_, attacks]| attacks),
        batch: work.batch,
        whole_batch: work.whole,
        held_gb: held.map(|mb| mb / 1e3),
        memory_gb: machine::memory_gb(),
        problems: look,
        lines,
        summary,
    })
}

fn in_words(images: &Sides) -> String {
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
    out.extend(told_by_files(&images.members, &images.nonmembers));
    if args.features == Features::Auto && utility::efflite0_weights().is_none() {
        out.push(format!(
            "the quality of generated images will not be measured: `cargo xtask features`, in a source checkout, fetches the network for it, \
             or {} names its file",
            utility::WEIGHTS
        ));
    }
    out
}

/// Said where the files of one side all have a size, or else a format, that none of the other side has: a control that looks at files
/// alone then tells the sides apart. It does so where the files of all images are known.
fn told_by_files(members: &ImageSet, others: &ImageSet) -> Option<String> {
    let files = |set: &ImageSet| -> Option<Vec<FileFacts>> {
        set.records.iter().map(|r| r.file.clone()).collect()
    };
    let (inside, outside) = (files(members)?, files(others)?);
    let size = |file: &FileFacts| format!("{}x{}", file.width, file.height);
    let format = |file: &FileFacts| file.format.clone();
    let [inside, outside] = told_apart(&inside, &outside, size, "sizes")
        .or_else(|| told_apart(&inside, &outside, format, "formats"))?;
    Some(format!(
        "members' files are {inside}, non-members' {outside}: the files alone tell them apart, and the report will be void"
    ))
}

/// In words what all files of one side have and none of the other, and what those have.
fn told_apart(
    inside: &[FileFacts],
    outside: &[FileFacts],
    of: impl Fn(&FileFacts) -> String,
    many: &str,
) -> Option<[String; 2]> {
    let all = |files: &[FileFacts]| files.iter().map(&of).collect::<BTreeSet<String>>();
    let sides = [all(inside), all(outside)];
    let one = sides.iter().any(|values| values.len() == 1);
    (one && sides[0].is_disjoint(&sides[1])).then(|| {
        sides.each_ref().map(|values| match values.first() {
            Some(only) if values.len() == 1 => only.clone(),
            _ => format!("of other {many}"),
        })
    })
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
                ". With {} at a time {:.1} GB of {all:.1} GB memory were held{}",
                self.batch,
                held / 1e3,
                match self.whole {
                    true => "",
                    false => ", fewer than the audit would take (--batch)",
                }
            ),
            _ => String::new(),
        };
        format!(
            "attacks and generated images take about {} on this machine ({} to generate images, {} to attack). Image quality, copies, controls and \
             statistics come on top{memory}",
            time(drawing + attacks),
            time(drawing),
            time(attacks)
        )
    }
}

/// What the audit does with one model of `models`: network calls and images.
pub(super) fn work(
    args: &ScoreOptions,
    case: &Case,
    attacks: &[AttackSpec],
    models: usize,
) -> AuditWork {
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
    let calls = |comparing: bool| -> f64 {
        let of = attacks.iter().filter(|a| compares(a) == comparing);
        of.map(|attack| asked.attack(attack)).sum()
    };
    AuditWork {
        drawing: asked.drawing(),
        attacking: calls(false),
        drawn_for_attacks: calls(true),
        measured: match model.is_told() {
            true => scored * args.draw.per_prompt,
            false => args.draw.images,
        } as f64,
        real: scored as f64,
        models,
    }
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
    let work = work(args, case, attacks, 1);
    let attacking = work.attacking + work.drawn_for_attacks;
    Ok(Work {
        seconds: Some([call * work.drawing, call * attacking]),
        batch,
        whole: batch == whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::{Picture, Record};

    /// Images whose files have these sizes and formats.
    fn set(files: &[(u32, &str)]) -> ImageSet {
        let record = |(i, &(side, format)): (usize, &(u32, &str))| {
            let picture = Picture::filled(4, 4, 1, i as u8);
            Record {
                id: picture.id(),
                picture,
                captions: vec![],
                group: None,
                label: None,
                name: format!("{i}.{format}"),
                file: Some(FileFacts {
                    format: format.into(),
                    width: side,
                    height: side,
                    ..FileFacts::default()
                }),
            }
        };
        let records = files.iter().enumerate().map(record).collect();
        ImageSet::new("images".into(), None, records).unwrap()
    }

    #[test]
    fn files_that_tell_the_sides_apart_are_told_before() {
        let small = set(&[(16, "png"), (16, "png")]);
        let said = told_by_files(&small, &set(&[(28, "png"), (28, "jpeg")])).unwrap();
        assert!(
            said.starts_with("members' files are 16x16, non-members' 28x28: "),
            "{said}"
        );
        let said = told_by_files(&set(&[(28, "png"), (30, "png")]), &small).unwrap();
        assert!(
            said.contains("are of other sizes, non-members' 16x16"),
            "{said}"
        );
        let said = told_by_files(&small, &set(&[(16, "jpeg"), (16, "jpeg")])).unwrap();
        assert!(said.contains("files are png, non-members' jpeg"), "{said}");
        // One that both have; sizes of photographs, all different; files that are not known of all.
        let mixed = set(&[(16, "png"), (28, "png")]);
        assert_eq!(told_by_files(&small, &mixed), None);
        let photos = set(&[(31, "png"), (29, "png")]);
        assert_eq!(told_by_files(&mixed, &photos), None);
        let mut bare = set(&[(28, "png"), (28, "png")]);
        bare.records[0].file = None;
        assert_eq!(told_by_files(&small, &bare), None);
    }

    #[test]
    fn the_estimate_says_what_it_leaves_out() {
        let work = Work {
            seconds: Some([4.0, 8.0]),
            batch: 2,
            whole: true,
        };
        let said = work.described();
        assert!(
            said.starts_with("attacks and generated images take about 12 s")
                && said.contains("Image quality, copies, controls and statistics come on top"),
            "{said}"
        );
    }
}
