//! Models trained anywhere: attacked, and audited. `folder` is the audit, this file what both share.

mod asked;
mod audited;
mod case;
mod check;
mod drawn;
mod folder;
mod generated;
mod options;
mod trained;

pub use crate::stages::score::PartDone;
pub(crate) use case::Sides;
pub use case::undoubled;
pub use check::{Checked, CheckedModel, check};
pub use dualmd_names::check_name;
pub use folder::{audit, audit_denoiser, audit_part};
pub use options::{AuditOptions, DrawOptions, ScoreOptions, ShadowOptions};
pub(crate) use trained::refuse_foreign_split;

use crate::bail_usage;
use crate::session::Session;
use crate::stages::attack::failures;
use crate::stages::create_folder;
use crate::stages::held::Held;
use crate::stages::score::{self, Kept, Scored, Shadow, Subject, parts, score, score_part};
use crate::stages::shadow;
use anyhow::{Result, bail};
use audited::Audited;
use case::Case;
use drawn::generate;
use dualmd_attack::Share;
use dualmd_files::shown;
use dualmd_metrics::Extractor;
use dualmd_names::{AttackSpec, Defense, ModelKind};
use dualmd_record::Count;
use dualmd_record::scores::Scores;
use dualmd_torch::Tensor;
use std::path::{Path, PathBuf};

/// Attacks one model, or one pair: scores go to the CSV file `out`, with a description beside it as `.json`. Returns the
/// description.
///
/// # Errors
/// What cannot be read; what does not fit together; a stop that was asked for
/// ([`stopped`](crate::errors::stopped)): the same call goes on then.
pub fn attack(session: &Session, options: &ScoreOptions, out: &Path) -> Result<Scores> {
    check_out(out)?;
    let audited = audited::only(options, session.reporter.as_ref())?;
    let _held = Held::file(out, session.reporter.as_ref())?;
    // Before hours of work, not after.
    dualmd_files::check_target(out)?;
    let case = Case::open(session, options, &audited)?;
    let text = case.generator.first().is_told();
    let attacks = asked::asked(options, &audited, text, false, case.reference.is_some())?;
    asked::check_schedule(&attacks, case.generator.first(), session)?;
    let seed = options.seed;
    let draw = |model, images, seed| {
        let named = (audited.name.as_str(), model);
        generate(session, named, images, options, seed, None)
    };
    let given = generated::given(&case, options, session.reporter.as_ref())?;
    let generated = match (given, attacks.iter().any(AttackSpec::needs_images)) {
        (Some(given), _) => Some(given),
        (None, true) => Some(draw(&case.generator, &case.images, seed)?),
        (None, false) => None,
    };
    let of_shadow = match &case.shadow {
        Some((model, images)) if shadow::draws(&attacks) => {
            Some(draw(model, images, shadow::seed(seed))?)
        }
        _ => None,
    };
    let texts = Texts::of(&case);
    let extractor = case.comparing(&attacks)?;
    let attacked = Attacked {
        case: &case,
        options,
        audited: &audited,
        attacks: &attacks,
        generated: [generated.as_ref(), of_shadow.as_ref()],
        texts: &texts,
        extractor: extractor.as_deref(),
        parts: parts::beside(out),
    };
    let json = out.with_extension("json");
    let description = attacked.scored(session, out, &json)?;
    let said = format!("scores in {}", out.display());
    session.reporter.finished(&audited.name, &said);
    attacked.check(session, &description)?;
    Ok(description)
}

/// Does what one of several processes has to do for [`attack()`]: it looks at the batches of its share and leaves what they came to in
/// a folder beside `out`, which is not written. [`attack()`] with the same options takes them from there. All processes see one file
/// system.
///
/// # Errors
/// As [`attack()`]; [`attack()`] is at work there; what processes with other options left.
pub fn attack_part(
    session: &Session,
    options: &ScoreOptions,
    out: &Path,
    share: Share,
) -> Result<PartDone> {
    check_out(out)?;
    let audited = audited::only(options, session.reporter.as_ref())?;
    let _held = Held::share_file(out, session.reporter.as_ref())?;
    dualmd_files::check_target(out)?;
    let case = Case::open(session, options, &audited)?;
    let json = out.with_extension("json");
    part(
        session,
        options,
        &audited,
        &case,
        false,
        share,
        [out, &json],
    )
}

/// Refuses what is no CSV file, and makes the folder of one that is.
fn check_out(out: &Path) -> Result<()> {
    if out.extension().is_some_and(|e| e == "json") {
        bail_usage!(
            "{}: scores are written as CSV, with a description beside them as .json: name a .csv file",
            out.display()
        );
    }
    match out.parent() {
        Some(folder) => create_folder(folder),
        None => Ok(()),
    }
}

/// Looks at the batches of a share for one model, whose scores will be in the files `csv` and `json`; says what was done. `black_box`:
/// attacks on generated images are among the usual ones.
fn part(
    session: &Session,
    options: &ScoreOptions,
    audited: &Audited,
    case: &Case,
    black_box: bool,
    share: Share,
    [csv, json]: [&Path; 2],
) -> Result<PartDone> {
    let text = case.generator.first().is_told();
    let attacks = asked::asked(options, audited, text, black_box, case.reference.is_some())?;
    let texts = Texts::of(case);
    let attacked = Attacked {
        case,
        options,
        audited,
        attacks: &attacks,
        generated: [None, None],
        texts: &texts,
        extractor: None,
        parts: parts::beside(csv),
    };
    let (kept, images) = (Kept::read(csv, json)?, &case.images);
    let subject = attacked.subject();
    let done = score_part(&subject, &images.x, &images.labels, &kept, share, session)?;
    for (attack, reason) in &done.looked.failed {
        session.warn(&format!(
            "warning: attack {attack} failed: {reason}; the call without --part tries it again"
        ));
    }
    if !done.left.is_empty() {
        session.say(&format!(
            "left to the call without --part, since images are generated for it: {}",
            done.left.join(", ")
        ));
    }
    let batches = &done.looked.batches;
    let said = match batches.all {
        0 => format!("part {share}: nothing to do; no attack without scores asks the network"),
        _ => format!("part {share}: {batches}"),
    };
    session.reporter.finished(&audited.name, &said);
    Ok(done)
}

/// Captions of all samples, and of those of the shadow model.
struct Texts<'a> {
    own: Option<Vec<&'a [String]>>,
    shadow: Option<Vec<&'a [String]>>,
}

impl<'a> Texts<'a> {
    fn of(case: &'a Case) -> Self {
        Self {
            own: case.images.texts(),
            shadow: case.shadow.as_ref().and_then(|(_, images)| images.texts()),
        }
    }
}

/// One model under attack, with all that is known of it.
struct Attacked<'a> {
    case: &'a Case,
    options: &'a ScoreOptions,
    audited: &'a Audited,
    attacks: &'a [AttackSpec],
    /// By the model, and by its shadow.
    generated: [Option<&'a Tensor>; 2],
    texts: &'a Texts<'a>,
    extractor: Option<&'a dyn Extractor>,
    /// A folder for what is done on the way.
    parts: PathBuf,
}

impl Attacked<'_> {
    fn subject(&self) -> Subject<'_> {
        let Self { case, options, .. } = self;
        Subject {
            name: &self.audited.name,
            defense: self.defense(),
            attacks: self.attacks,
            generator: &case.generator,
            reference: case.reference.as_ref(),
            shadow: case.shadow.as_ref().map(|(generator, images)| Shadow {
                generator,
                x: &images.x,
                labels: &images.labels,
                captions: self.texts.shadow.as_deref(),
                generated: self.generated[1],
            }),
            generated: self.generated[0],
            captions: self.texts.own.as_deref(),
            extractor: self.extractor,
            drawing: options.draw.drawing(),
            known: options.known_fraction,
            batch: options.batch,
            seed: options.seed,
            weights: options.weights,
            parts: &self.parts,
        }
    }

    fn defense(&self) -> ModelKind {
        match self.audited.is_pair() {
            true => Defense::Dualmd.into(),
            false => ModelKind::unknown(),
        }
    }

    /// Scores to the two files, keeping what an earlier run left in them that still holds; returns the description.
    fn scored(&self, session: &Session, csv: &Path, json: &Path) -> Result<Scores> {
        let kept = Kept::read(csv, json)?;
        let (subject, images) = (self.subject(), &self.case.images);
        let Scored {
            rows,
            mut description,
            kept,
            asked_network,
        } = score(&subject, &images.x, &images.labels, kept, session)?;
        if kept > 0 {
            session.say(&format!(
                "{kept} of {} attacks: scores of the earlier run kept, nothing they depend on has changed",
                self.attacks.len()
            ));
        }
        let (unlike, unchecked) = (images.unlike(), self.case.unchecked.clone());
        for said in unlike.iter().chain(&unchecked) {
            session.say(&format!("warning: {said}"));
        }
        let of_model = self.case.generator.first().notes();
        let notes = unlike.into_iter().chain(unchecked).chain(images.notes());
        for said in notes.chain(of_model) {
            if !description.warnings.contains(&said) {
                description.warnings.push(said);
            }
        }
        score::write(csv, json, &rows, &description)?;
        if asked_network {
            parts::remove(csv)?;
        } else if parts::remove_unused(csv)? {
            session.warn(&format!(
                "warning: {} holds what calls with --part left; this one had no use for it: delete the folder if no other will",
                shown(&parts::beside(csv))
            ));
        }
        Ok(description)
    }

    /// Says what the attacks cost and warns of failed ones.
    ///
    /// # Errors
    /// None succeeded.
    fn check(&self, session: &Session, description: &Scores) -> Result<()> {
        let count = |count: Option<Count>| count.map_or(0.0, Count::as_f64);
        for attack in &description.attacks {
            session.reporter.detail(&format!(
                "{}: {:.1} s, {} network calls a sample alone",
                attack.attack,
                attack.seconds.unwrap_or(0.0),
                count(attack.network_calls_per_sample)
            ));
        }
        session.reporter.detail(&format!(
            "network calls: {} made, {} saved by sharing",
            count(description.network_calls_made),
            count(description.network_calls_saved)
        ));
        let failed = failures(description);
        for failure in &failed {
            session.warn(&format!("warning: {failure}"));
        }
        if !failed.is_empty() && failed.len() == description.attacks.len() {
            bail!("every attack failed; the reasons are above");
        }
        Ok(())
    }
}
