//! An audit: attacks, controls and a report in a folder, of one model or of several beside each other.

use super::audited::{self, Audited};
use super::case::{Case, Sides};
use super::check::work;
use super::drawn::drawn;
use super::options::{AuditOptions, ScoreOptions};
use super::{Attacked, PartDone, Texts, asked, generated, part};
use crate::bail_usage;
use crate::plan::SHADOW;
use crate::report::{Written, report};
use crate::reporter::{Reporter, meanwhile};
use crate::session::Session;
use crate::stages::attack::write_exposed;
use crate::stages::features::{extract, hash_answer};
use crate::stages::generator::{Generator, weight_set};
use crate::stages::hashes::hash_tensor;
use crate::stages::held::Held;
use crate::stages::real::{FeatureStore, RealImages};
use crate::stages::sample::{Side, write_nearest};
use crate::stages::score::{Label, parts};
use crate::stages::watched::Watched;
use crate::stages::{
    RunFolder, alone, blind, copies, create_folder, remove, sets, shadow, utility,
};
use crate::whole::{Part, Whole};
use crate::{choices, machine};
use anyhow::Result;
use dualmd_attack::Share;
use dualmd_data::{BUNDLED, ImageSet, Record, Split};
use dualmd_diffusion::{Given, Model};
use dualmd_files::{Lock, shown};
use dualmd_metrics::Extractor;
use dualmd_names::AttackSpec;
use dualmd_record::plan::{
    AuditData, AuditHardware, AuditNetwork, AuditPlan, AuditSettings, AuditShadow, AuditedModel,
};
use dualmd_record::utility::Utility;
use dualmd_torch::Tensor;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Version of what is measured of generated images; a change of any of its numbers raises it.
const MEASURES: u32 = 3;

/// What the generated images are worth, where the weights of a feature network are at hand, and how many are copies.
/// `for_members`: those drawn for members' captions, all of an unconditional model.
fn write_utility(
    session: &Session,
    case: &Case,
    run: &RunFolder,
    name: &str,
    (generated, per_prompt): (&Tensor, usize),
    for_members: &Tensor,
    seed: u64,
) -> Result<()> {
    let Sides {
        members: inside,
        nonmembers: outside,
        x,
        ..
    } = &case.images;
    let sides = case.images.sides();
    let (features, weights) = case.features();
    let device = case.engine.device;
    let (n, others) = (inside.len() as i64, outside.len() as i64);
    if n.min(others) < 2 {
        return Ok(());
    }
    let store = FeatureStore::new(run.real_features(), session.reporter.as_ref());
    let members = store.images(x.narrow(0, 0, n));
    let heldout = store.images(x.narrow(0, n, others));
    let extractor = utility::extractor(features, weights, sides, device)?;
    let likened = copies::likenesses(choices::Copies::Auto, None, sides)?;
    // The same images, measured by the same networks, need not be measured again.
    let some = x.narrow(0, 0, 2);
    let probe = |extractor: &dyn Extractor| -> Result<(String, String)> {
        let some = some.to_device(device);
        Ok((extractor.name(), hash_answer(extractor, &some)?))
    };
    let by: Vec<(String, String)> = extractor
        .iter()
        .map(AsRef::as_ref)
        .chain(likened.iter().map(|(network, _)| network.as_ref()))
        .map(probe)
        .collect::<Result<_>>()?;
    let per_prompt = case.generator.first().is_told().then_some(per_prompt);
    let alone = alone_of(case.images.members.len(), &case.images.labels);
    let of = (
        MEASURES,
        by,
        [hash_tensor(x)?, hash_tensor(generated)?],
        (n, per_prompt, seed, &alone),
    );
    let of = blake3::hash(serde_json::to_string(&of)?.as_bytes())
        .to_hex()
        .to_string();
    let before: Option<Utility> = dualmd_record::read_if_usable(&run.utility(name))?;
    if before.is_some_and(|before| before.of.as_deref() == Some(&of)) {
        return Ok(());
    }
    let drawn = generated.size()[0];
    let mut measured = Utility::default();
    if let Some(extractor) = extractor {
        let drawn = for_members.size()[0];
        let task = (name, "quality");
        let extractor = watched(session, extractor, task, [&members, &heldout], drawn)?;
        let real = utility::Real {
            heldout: heldout.features(extractor.as_ref())?,
            members: Some(members.features(extractor.as_ref())?),
            alone,
        };
        let generated = extract(extractor.as_ref(), &for_members.to_device(device))?;
        measured = utility::measure(&generated, &real, seed);
    }
    let likened = likened
        .into_iter()
        .map(|(network, likeness)| {
            let task = (name, "copies");
            let network = watched(session, network, task, [&members, &heldout], drawn)?;
            Ok((network, likeness))
        })
        .collect::<Result<Vec<_>>>()?;
    let ids: Vec<&str> = inside.records.iter().map(|r| r.id.as_str()).collect();
    let sides = copies::Sides::new(likened, &members, &heldout)?;
    measured.copies = Some(sides.measure(generated, per_prompt, &ids, seed)?);
    measured.of = Some(of);
    create_folder(&run.0.join("utility"))?;
    Ok(dualmd_record::write(&run.utility(name), &measured)?)
}

/// The network, which tells how many images it is through with: of real ones, and `drawn` generated ones. `task`: the model, and what is done.
fn watched(
    session: &Session,
    network: Box<dyn Extractor>,
    task: (&str, &'static str),
    real: [&RealImages<'_>; 2],
    drawn: i64,
) -> Result<Box<dyn Extractor>> {
    let mut images = drawn;
    for side in real {
        images += side.to_be_seen(network.as_ref())?;
    }
    let total = images.unsigned_abs() as usize;
    let reporter = session.reporter.clone();
    Ok(Box::new(Watched::new(network, reporter, task, total)))
}

/// Attacks, controls and a report in a folder, of one model or several: scores, samples, `plan.json`, `report.html`,
/// `report.json`. What an earlier call left there and still holds is kept. Returns the report.
///
/// # Errors
/// Models or images that cannot be read or do not fit together; a folder of a run or of another audit, or in which another process
/// works; a stop that was asked for ([`stopped`](crate::errors::stopped)): the same call goes on then.
pub fn audit(session: &Session, options: &AuditOptions) -> Result<Written> {
    let all = audited::audited(&options.score, session.reporter.as_ref())?;
    audit_all(session, options, &all, None)
}

/// As [`audit()`], of a denoiser of the caller's own; `options` name no model. `fingerprint` tells it from others: what an earlier
/// call left in the folder is kept where it is the same.
///
/// # Errors
/// As [`audit()`].
pub fn audit_denoiser(
    session: &Session,
    denoiser: Given,
    fingerprint: &str,
    options: &AuditOptions,
) -> Result<Written> {
    let args = &options.score;
    let named = args.models.len() + args.named.len() + args.pair.len();
    if named > 0 || args.denoiser.is_some() {
        bail_usage!("a model is named beside the denoiser that is given: audit them one by one");
    }
    let given = Generator::given(denoiser, fingerprint);
    audit_all(session, options, &[Audited::given()], Some(given))
}

/// `given`: the only one of them, where it is open.
fn audit_all(
    session: &Session,
    options: &AuditOptions,
    all: &[Audited],
    given: Option<Generator>,
) -> Result<Written> {
    let (args, out) = (&options.score, &options.out);
    refuse_run(out)?;
    refuse_among_images(args, out)?;
    let run = RunFolder(out.clone());
    // What tells the others from each other; the first is told below.
    let mut marks = Vec::new();
    if all.len() > 1 {
        session.warn(&format!(
            "{} models, each by itself: {}",
            all.len(),
            names(all).join(", ")
        ));
        // What cannot be opened is said before the first of them is attacked; that one is opened below, to be used.
        for one in all.iter().skip(1) {
            let (set, engine) = (weight_set(args.weights), &session.engine);
            let other = Generator::open_adapted(&one.folders, &one.loras, set, engine)?;
            marks.push((one.name.as_str(), other.fingerprint().to_owned()));
        }
    }
    let Some(one) = all.first() else {
        bail_usage!("no model is named");
    };
    // Nothing is made for a model or images that cannot be opened.
    let opened = match given {
        Some(given) => Case::of(session, args, one, given)?,
        None => meanwhile(session.reporter.as_ref(), &one.name, "opening", || {
            Case::open(session, args, one)
        })?,
    };
    marks.push((one.name.as_str(), opened.generator.fingerprint().to_owned()));
    let _held = Held::run(out, session.reporter.as_ref())?;
    refuse_strangers(&run, all)?;
    let before: Option<AuditPlan> = dualmd_record::read_if_usable(&run.plan())?;
    let sides = [&opened.images.members, &opened.images.nonmembers].map(hash_of);
    if let Some(other) = before.and_then(|before| differs(&before, &marks, &sides)) {
        session.warn(&format!(
            "warning: {} holds an earlier audit of {other}: its scores and its report are written over (-o names another folder)",
            shown(out)
        ));
    }
    let mut opened = Some(opened);
    let whole = Arc::new(Whole::of_audit(Arc::clone(&session.reporter)));
    let session = &Session {
        reporter: Arc::clone(&whole) as Arc<dyn Reporter>,
        ..session.clone()
    };
    let reporter = session.reporter.as_ref();
    // An earlier audit's plan is not to speak of what this one has drawn and scored when it is stopped.
    remove(&run.plan())?;
    create_folder(&run.0.join("scores"))?;
    let mut done: Vec<Done> = Vec::new();
    // The images are the same for all; those of the first are kept.
    let mut first: Option<Case> = None;
    for (one, after) in all.iter().zip((0..all.len()).rev()) {
        let case = match opened.take() {
            Some(case) => case,
            None => meanwhile(reporter, &one.name, "opening", || {
                Case::open(session, args, one)
            })?,
        };
        done.push(model(
            session,
            options,
            one,
            &case,
            &run,
            (&*whole, all.len(), after),
        )?);
        first.get_or_insert(case);
    }
    let Some(case) = first else {
        bail_usage!("no model is named");
    };
    whole.enter(Part::Controls);
    finish(session, options, all, &done, &case, &run)?;
    whole.enter(Part::Report);
    meanwhile(reporter, "", "report", || report(&run.0, options.report))
}

/// Does what one of several processes has to do for [`audit()`]: of each model it looks at the batches of its share, for all attacks that
/// ask the network, and leaves what they came to in the folder. [`audit()`] with the same options takes them from there and does
/// everything else. All processes see one file system. Gives what was done, model by model.
///
/// # Errors
/// As [`audit()`]; [`audit()`] is at work there; what processes with other options left.
pub fn audit_part(
    session: &Session,
    options: &AuditOptions,
    share: Share,
) -> Result<Vec<PartDone>> {
    let (args, out) = (&options.score, &options.out);
    refuse_run(out)?;
    refuse_among_images(args, out)?;
    let all = audited::audited(args, session.reporter.as_ref())?;
    let Some(one) = all.first() else {
        bail_usage!("no model is named");
    };
    // Nothing is made for a model or images that cannot be opened.
    let mut opened = Some(Case::open(session, args, one)?);
    let _held = Held::share(out, session.reporter.as_ref())?;
    let run = RunFolder(out.clone());
    refuse_strangers(&run, &all)?;
    create_folder(&run.0.join("scores"))?;
    let mut done = Vec::new();
    for one in &all {
        let case = match opened.take() {
            Some(case) => case,
            None => Case::open(session, args, one)?,
        };
        let (csv, json) = (run.scores(&one.name, "csv"), run.scores(&one.name, "json"));
        done.push(part(session, args, one, &case, true, share, [&csv, &json])?);
    }
    Ok(done)
}

/// Refuses a folder that an audit could not be written to, or that another process works in. Nothing is made.
///
/// # Errors
/// A file in the way; a folder or a file of the report that cannot be written to; a run; a folder of the images that are audited; a folder
/// that is in use.
pub(super) fn check_place(args: &ScoreOptions, out: &Path) -> Result<()> {
    refuse_run(out)?;
    refuse_among_images(args, out)?;
    dualmd_files::check_folder(out)?;
    if out.is_dir() {
        drop(Lock::take(out, "dualmd audit --check")?);
        for file in ["plan.json", "report.html", "report.json", "findings.csv"] {
            dualmd_files::check_target(&out.join(file))?;
        }
    }
    Ok(())
}

/// An audit is not written over a run.
pub(super) fn refuse_run(out: &Path) -> Result<()> {
    if out.join("experiment.toml").exists() {
        bail_usage!(
            "{} holds a run of `dualmd run`, whose plan an audit would overwrite: choose another folder (-o)",
            out.display()
        );
    }
    Ok(())
}

/// An audit writes images, which the next call would read as members or non-members if they lay among these.
fn refuse_among_images(args: &ScoreOptions, out: &Path) -> Result<()> {
    // The folders above it that are not there yet will be made.
    let Some(above) = std::path::absolute(out)
        .ok()
        .and_then(|path| path.ancestors().find_map(|p| p.canonicalize().ok()))
    else {
        return Ok(());
    };
    let mut sources = vec![
        ("--members", &args.members),
        ("--nonmembers", &args.nonmembers),
    ];
    sources.extend(args.generated.iter().map(|data| ("--generated", data)));
    if let Some(shadow) = &args.shadow {
        sources.push(("--shadow-members", &shadow.members));
        sources.push(("--shadow-nonmembers", &shadow.nonmembers));
    }
    for (flag, source) in sources {
        if folder_of(source).is_some_and(|folder| above.starts_with(folder)) {
            bail_usage!(
                "{} lies in the folder of {flag} ({}): images that the audit writes there would be read with them: choose \
                 another folder (-o)",
                shown(out),
                shown(source)
            );
        }
    }
    Ok(())
}

/// The folder that a source names, without the part or side after it; none of other sources.
fn folder_of(source: &str) -> Option<PathBuf> {
    let mut base = source;
    while !Path::new(base).exists() {
        base = base.rsplit_once('#')?.0;
    }
    if BUNDLED.contains(&base) {
        return None;
    }
    let folder = Path::new(base).canonicalize().ok()?;
    folder.is_dir().then_some(folder)
}

/// What is audited, for a report: its folders, or the name of a model in another process and where it is.
pub(super) fn called(one: &Audited, model: &Model) -> String {
    let said = |key: &str| {
        let of = model.foreign()?.describe();
        Some(shown(of.get(key)?.as_str()?).to_string())
    };
    titled(said("name"), said("fingerprint"), one.shown())
}

/// A model's name and fingerprint, if it has them, with the place where it is. A name that says the place does so once.
fn titled(name: Option<String>, mark: Option<String>, place: String) -> String {
    match (name.filter(|name| *name != place), mark) {
        (Some(name), Some(mark)) => format!("{name}, fingerprint {mark} ({place})"),
        (Some(name), None) => format!("{name} ({place})"),
        (None, Some(mark)) => format!("{place}, fingerprint {mark}"),
        (None, None) => place,
    }
}

/// What was done on one model.
struct Done {
    /// Its entry in the plan.
    plan: AuditedModel,
    attacks: Vec<AttackSpec>,
    /// Its shadow model, for the plan.
    shadow: Option<AuditShadow>,
}

fn names(all: &[Audited]) -> Vec<&str> {
    all.iter().map(|a| a.name.as_str()).collect()
}

/// Scores that an earlier call left of a model which is not audited now would stand in the report as if they had been made with it.
pub(super) fn refuse_strangers(run: &RunFolder, all: &[Audited]) -> Result<()> {
    let entries = match dualmd_files::list(&run.0.join("scores")) {
        Err(e) if e.is_absent() => return Ok(()),
        entries => entries?,
    };
    for path in entries {
        let stem = path
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        if path.extension().is_some_and(|e| e == "csv") && !names(all).contains(&stem) {
            bail_usage!(
                "{} is of an earlier audit of another model, which would stand in the same report: choose another folder (-o), name that \
                 model too (--model {stem}=FOLDER), or delete the file",
                path.display()
            );
        }
    }
    Ok(())
}

/// What an earlier audit was of that this one is not: models of these names with other weights, other images on a side. Nothing where
/// this one goes on with it.
pub(super) fn differs(
    before: &AuditPlan,
    marks: &[(&str, String)],
    sides: &[String; 2],
) -> Option<String> {
    let mut out: Vec<String> = Vec::new();
    for (name, mark) in marks {
        let mut known = before.models.iter().filter(|known| known.name == *name);
        if known.any(|known| known.weights_blake3 != *mark) {
            out.push(format!("another {} ({})", shown(name), shown(&before.name)));
        }
    }
    let data = &before.data;
    let kept = [&data.members_blake3, &data.nonmembers_blake3];
    let counts = [data.members, data.nonmembers];
    for (((kept, now), n), side) in kept
        .into_iter()
        .zip(sides)
        .zip(counts)
        .zip(["members", "non-members"])
    {
        if kept.as_ref().is_some_and(|kept| kept != now) {
            out.push(format!("other {side} ({n} images)"));
        }
    }
    (!out.is_empty()).then(|| out.join(", of "))
}

/// Draws from one model, attacks it, and writes what is known of it alone. `after`: models of all `models` that follow it, for `whole`,
/// which tells how long all of them take.
fn model(
    session: &Session,
    options: &AuditOptions,
    audited: &Audited,
    case: &Case,
    run: &RunFolder,
    (whole, models, after): (&Whole, usize, usize),
) -> Result<Done> {
    let (name, args) = (audited.name.as_str(), &options.score);
    let seed = args.seed;
    let text = case.generator.first().is_told();
    let attacks = asked::asked(args, audited, text, true, case.reference.is_some())?;
    asked::check_schedule(&attacks, case.generator.first(), session)?;
    whole.next_model(name, &work(args, case, &attacks, models), after);
    let reporter = session.reporter.as_ref();
    // Features that are needed and not there are told before anything is drawn.
    let extractor = case.comparing(&attacks)?;
    whole.enter(Part::Sample);
    let draw = |model, images, folder: &Path, seed, given| {
        meanwhile(reporter, name, "generating", || {
            drawn(session, (name, model), images, args, folder, seed, given)
        })
    };
    let given = generated::given(case, args, session.reporter.as_ref())?;
    let own = run.samples(name);
    let generated = draw(&case.generator, &case.images, &own, seed, given)?;
    let of_shadow = match &case.shadow {
        Some((model, images)) if shadow::draws(&attacks) => {
            let folder = run.0.join(SHADOW);
            create_folder(&folder)?;
            Some(draw(model, images, &folder, shadow::seed(seed), None)?)
        }
        _ => None,
    };
    let texts = Texts::of(case);
    let (csv, json) = (run.scores(name, "csv"), run.scores(name, "json"));
    let attacked = Attacked {
        case,
        options: args,
        audited,
        attacks: &attacks,
        generated: [Some(&generated), of_shadow.as_ref()],
        texts: &texts,
        extractor: extractor.as_deref(),
        parts: parts::beside(&csv),
    };
    // As in a run: what is drawn for strangers' captions says nothing about what was learnt.
    let for_members = if text {
        generated.narrow(
            0,
            0,
            (case.images.members.len() * args.draw.per_prompt) as i64,
        )
    } else {
        generated.shallow_clone()
    };
    // Attacks do not wait for what the images are worth.
    let drawn = (&generated, args.draw.per_prompt);
    whole.enter(Part::Quality);
    let measured = meanwhile(reporter, name, "quality", || {
        write_utility(session, case, run, name, drawn, &for_members, seed)
    });
    if let Err(error) = measured {
        session.say(&format!(
            "warning: what the images are worth was not measured: {error:#}"
        ));
        let _ = remove(&run.utility(name));
    }
    whole.enter(Part::Attack);
    let description = attacked.scored(session, &csv, &json)?;
    attacked.check(session, &description)?;
    let everything = |set: &ImageSet| (0..set.len()).collect::<Vec<_>>();
    let Sides {
        members,
        nonmembers,
        labels,
        ..
    } = &case.images;
    let (inside, outside) = (everything(members), everything(nonmembers));
    meanwhile(reporter, name, "nearest images", || {
        write_nearest(
            &run.samples(name),
            &for_members,
            Side {
                set: members,
                positions: &inside,
            },
            Side {
                set: nonmembers,
                positions: &outside,
            },
            alone_of(members.len(), labels),
            seed,
            text,
        )
    })?;
    let first = case.generator.first();
    Ok(Done {
        plan: AuditedModel {
            name: name.to_owned(),
            defense: attacked.defense(),
            needs: Vec::new(),
            weights_blake3: case.generator.fingerprint().to_owned(),
            model: AuditNetwork {
                parameters: first.parameter_count(),
                config: first.config()?,
            },
        },
        shadow: case.shadow.as_ref().map(|(model, images)| AuditShadow {
            weights_blake3: model.fingerprint().to_owned(),
            members: images.members.len(),
            nonmembers: images.nonmembers.len(),
        }),
        attacks,
    })
}

/// What is known of all models together: the members that attacks find, the controls, the split, the plan.
fn finish(
    session: &Session,
    options: &AuditOptions,
    all: &[Audited],
    done: &[Done],
    case: &Case,
    run: &RunFolder,
) -> Result<()> {
    let seed = options.score.seed;
    let Sides {
        members,
        nonmembers,
        labels,
        ..
    } = &case.images;
    let known: Vec<&Record> = members.records.iter().collect();
    write_exposed(run, &names(all), &known)?;
    // In the order of the labels.
    let records: Vec<&Record> = known.into_iter().chain(&nonmembers.records).collect();
    blind::write(&run.controls(), &records, labels, seed, session)?;
    for name in names(all) {
        sets::write(run, name, labels, seed, session.reporter.as_ref())?;
    }
    let split = case.split.as_ref().filter(|split| {
        let agree = agrees(split, labels);
        if !agree {
            session.say("warning: the split given with --split has these images on other sides, or not at all: the report tells no halves apart");
        }
        agree
    });
    match split {
        Some(split) => split.save(&run.split())?,
        // An earlier call's halves are not this one's.
        None => remove(&run.split())?,
    }
    let only = match done {
        [one] => Some(one),
        _ => None,
    };
    let mut attacks: Vec<AttackSpec> = Vec::new();
    for attack in done.iter().flat_map(|d| &d.attacks) {
        if !attacks.contains(attack) {
            attacks.push(attack.clone());
        }
    }
    let model = case.generator.first();
    let folders: Vec<String> = all.iter().map(|one| called(one, model)).collect();
    let score = &options.score;
    let [channels, image_size, _] = members.shape();
    let plan = AuditPlan {
        name: folders.join(", "),
        created: machine::now(),
        command: session.command.clone(),
        versions: machine::versions(),
        hardware: AuditHardware {
            cpu: machine::cpu_name(),
            cores: case.engine.threads,
            memory_gb: machine::memory_gb(),
            device: case.engine.device_name(),
            dtype: case.engine.precision.name().to_owned(),
        },
        seed,
        data: AuditData {
            source: format!(
                "members {}, non-members {}",
                score.members, score.nonmembers
            ),
            image_size,
            channels,
            members: members.len(),
            nonmembers: nonmembers.len(),
            members_blake3: Some(hash_of(members)),
            nonmembers_blake3: Some(hash_of(nonmembers)),
        },
        split_hash: split.map(|s| s.hash().to_owned()),
        model: only.map(|done| done.plan.model.clone()),
        auditor: session.auditor.clone(),
        models: done.iter().map(|d| d.plan.clone()).collect(),
        audit: AuditSettings {
            attacks,
            generated: score.generated.clone(),
            weights: score.weights.as_str().to_owned(),
            known_fraction: score.known_fraction,
            compat: options
                .compat
                .iter()
                .map(|rule| rule.name().to_owned())
                .collect(),
        },
        shadow: only.and_then(|done| done.shadow.clone()),
    };
    Ok(dualmd_record::write(&run.plan(), &plan)?)
}

/// One image of each group on either side; the members' labels come first.
fn alone_of(members: usize, labels: &[Label]) -> Option<[Vec<usize>; 2]> {
    let groups: Vec<Option<String>> = labels.iter().map(|l| l.group.clone()).collect();
    let (own, others) = groups.split_at(members.min(groups.len()));
    alone(own, others)
}

/// BLAKE3 over the images of a set, whatever their order.
pub(super) fn hash_of(set: &ImageSet) -> String {
    let ids: BTreeSet<&str> = set.records.iter().map(|r| r.id.as_str()).collect();
    let mut hasher = blake3::Hasher::new();
    for id in ids {
        hasher.update(id.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

/// Does the split say of every image what the audit was told?
fn agrees(split: &Split, labels: &[Label]) -> bool {
    let members: BTreeSet<&str> = split.members().iter().map(|m| m.id.as_str()).collect();
    let others: BTreeSet<&str> = split.nonmembers().iter().map(|m| m.id.as_str()).collect();
    labels.iter().all(|l| {
        let side = if l.member { &members } else { &others };
        side.contains(l.id.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_is_not_written_among_the_images_that_it_reads() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["photos/train", "others"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let said = |path: PathBuf, end: &str| format!("{}{end}", path.display());
        let args = ScoreOptions::new(said(at("photos"), "#train#member"), said(at("others"), ""));
        for (out, flag) in [
            (at("photos"), "--members"),
            (at("photos/new/audit"), "--members"),
            (at("others/."), "--nonmembers"),
        ] {
            let refused = check_place(&args, &out).unwrap_err().to_string();
            assert!(
                refused.contains("lies in the folder of") && refused.contains(flag),
                "{refused}"
            );
        }
        check_place(&args, &at("photos-audit")).unwrap();
        check_place(&args, &at("new/audit")).unwrap();
        // Sets that are part of the program, and files, are no folders.
        assert_eq!(folder_of("fashion#member"), None);
        assert_eq!(folder_of("no such folder#train"), None);
    }

    #[test]
    fn a_model_is_called_by_name_and_place() {
        let of = |name: Option<&str>, mark: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            titled(own(name), own(mark), "a model in Python".to_owned())
        };
        assert_eq!(of(Some("mine"), None), "mine (a model in Python)");
        assert_eq!(
            of(Some("mine"), Some("f1")),
            "mine, fingerprint f1 (a model in Python)"
        );
        assert_eq!(of(None, Some("f1")), "a model in Python, fingerprint f1");
        for name in [None, Some("a model in Python")] {
            assert_eq!(of(name, None), "a model in Python");
        }
    }
}
