//! What is audited: models and images, opened and checked against each other.

use super::audited::Audited;
use super::generated::Unseen;
use super::options::ScoreOptions;
use super::trained::{refuse_foreign_split, unlike_training};
use crate::bail_usage;
use crate::choices;
use crate::engine::Engine;
use crate::reporter::Reporter;
use crate::session::Session;
use crate::stages::generator::{Generator, weight_set};
use crate::stages::pictures::{self, as_seen, tensor_of_all};
use crate::stages::score::Label;
use crate::stages::text::Told;
use crate::stages::utility;
use anyhow::{Context, Result, bail};
use dualmd_data::{
    ImageSet, LoadOptions, NearDuplicateOptions, Record, Split, alike_across, dedupe,
    near_duplicates,
};
use dualmd_diffusion::Model;
use dualmd_files::shown;
use dualmd_metrics::Extractor;
use dualmd_names::{AttackSpec, BlackBox};
use dualmd_remote::RemoteDenoiser;
use dualmd_torch::Tensor;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Everything both commands need.
pub struct Case {
    /// Device and arithmetic.
    pub engine: Engine,
    pub generator: Generator,
    pub reference: Option<Generator>,
    /// Of the model under attack.
    pub images: Sides,
    /// A shadow model with its own.
    pub shadow: Option<(Generator, Sides)>,
    pub split: Option<Split>,
    /// What a reader must know where the model's own split could not be compared with the images.
    pub unchecked: Option<String>,
    /// Images that a model generated of which nothing else is there.
    pub seen: Option<ImageSet>,
    /// What images are compared by, and where its weights are.
    features: (choices::Features, Option<PathBuf>),
}

/// Images that a model was trained on, and others.
pub struct Sides {
    pub members: ImageSet,
    pub nonmembers: ImageSet,
    /// Members first. What looks almost the same is one group, as in a run's split.
    pub labels: Vec<Label>,
    /// Members that look almost the same as a non-member: no attack can tell them apart.
    pub alike: usize,
    /// [N, C, H, W] in [-1, 1].
    pub x: Tensor,
    /// What a model is told of every sample: its captions, or its class.
    captions: Option<Vec<Vec<String>>>,
}

impl Case {
    /// Opens one of the models that `args` name, and the images.
    ///
    /// # Errors
    /// What cannot be read; what does not fit together.
    pub fn open(session: &Session, args: &ScoreOptions, audited: &Audited) -> Result<Self> {
        let (mut seen, mut base) = (None, None);
        let generator = match (&audited.denoiser, &audited.images) {
            (Some(place), _) => {
                let remote = RemoteDenoiser::open(place, args.denoiser_timeout)?;
                base = remote.base().map(Generator::remote);
                Generator::remote(remote)
            }
            (None, Some(images)) => {
                let (unseen, set) = Unseen::open(images, args, session.reporter.as_ref())?;
                seen = Some(set);
                let fingerprint = unseen.fingerprint().to_owned();
                Generator::given(unseen, fingerprint)
            }
            (None, None) => {
                let (set, engine) = (weight_set(args.weights), &session.engine);
                Generator::open_adapted(&audited.folders, &audited.loras, set, engine)?
            }
        };
        let case = Self::of(session, args, audited, generator)?;
        Ok(Self {
            seen,
            // A reference model that was named goes first.
            reference: case.reference.or(base),
            ..case
        })
    }

    /// Opens the images for a model that is open.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(
        session: &Session,
        args: &ScoreOptions,
        audited: &Audited,
        generator: Generator,
    ) -> Result<Self> {
        let (engine, reporter) = (session.engine, session.reporter.as_ref());
        let open =
            |folders: &[PathBuf]| Generator::open(folders, weight_set(args.weights), &engine);
        let reference = match args.reference() {
            Some(folder) => {
                let reference = open(std::slice::from_ref(&folder))?;
                check_alike(&generator, &reference, &folder, "reference model")?;
                Some(reference)
            }
            None => None,
        };
        let split = args.split.as_deref().map(Split::load).transpose()?;
        // What a LoRA's base was trained on says nothing of the LoRA.
        if let Some(split) = split.as_ref().filter(|_| audited.loras.is_empty()) {
            refuse_foreign_split(&audited.folders, &args.members, split)?;
        }
        let shape = generator.first().image_shape();
        if let Some([_, h, w]) = shape
            && h != w
        {
            bail!("the model draws images of {w} x {h}: only square ones can be audited yet");
        }
        let options = LoadOptions {
            split: split.as_ref(),
            group_column: args.group_column.as_deref(),
            id_column: args.id_column.as_deref(),
            caption_column: args.caption_column.as_deref(),
            label_column: args.label_column.as_deref(),
            alpha: args.alpha,
            tell_changes: true,
            ..as_seen(shape)
        };
        let told = Told::by(generator.first());
        for said in args.draw.idle(generator.first().is_told()) {
            session.say(&said);
        }
        let images = Sides::open(&args.members, &args.nonmembers, &options, told, reporter)?;
        let unchecked = match audited.loras.is_empty() {
            true => unlike_training(&audited.folders, split.as_ref(), images.both())?,
            false => None,
        };
        let shadow = match &args.shadow {
            Some(given) => {
                let shadow = open(&given.models)?;
                if given.models.len() != audited.models() {
                    bail_usage!(
                        "--shadow names {}, and what is audited is {}: a shadow is of the same kind (--shadow twice for a pair)",
                        kind(given.models.len()),
                        kind(audited.models())
                    );
                }
                check_alike(&generator, &shadow, &given.models[0], "shadow model")?;
                let split = given.split.as_deref().map(Split::load).transpose()?;
                if let Some(split) = &split {
                    refuse_foreign_split(&given.models, &given.members, split)?;
                }
                let options = LoadOptions {
                    split: split.as_ref(),
                    ..options
                };
                let (members, nonmembers) = (&given.members, &given.nonmembers);
                let sides = Sides::open(members, nonmembers, &options, told, reporter)
                    .context("the shadow model's images")?;
                let unchecked = unlike_training(&given.models, split.as_ref(), sides.both())
                    .context("the shadow model's images")?;
                for said in sides.unlike().into_iter().chain(unchecked) {
                    session.warn(&format!("warning: the shadow model's images: {said}"));
                }
                let alike = alike(&images, &sides)?;
                if alike > 0 {
                    session.warn(&format!(
                        "warning: {alike} audited images look almost the same as one of the shadow model's: what is learnt there is judged on \
                         images that it was learnt from; leave these out of the shadow model's (it would have to be trained without them)"
                    ));
                }
                Some((shadow, sides))
            }
            None => None,
        };
        Ok(Self {
            engine,
            generator,
            reference,
            images,
            shadow,
            split,
            unchecked,
            seen: None,
            features: (args.features, args.features_weights.clone()),
        })
    }

    /// What images that captions draw, and those of `nn-features` and `density`, are compared by: pixels where `--features` gives nothing.
    pub fn comparing(&self, attacks: &[AttackSpec]) -> Result<Option<Box<dyn Extractor>>> {
        if !self.generator.first().is_told()
            && !attacks
                .iter()
                .any(|a| BlackBox::of(a).is_some_and(BlackBox::compares_features))
        {
            return Ok(None);
        }
        let (features, weights) = self.features();
        let (sides, device) = (self.images.sides(), self.engine.device);
        utility::extractor_or_pixels(features, weights, sides, device).map(Some)
    }

    /// `--features` and `--features-weights`.
    pub fn features(&self) -> (choices::Features, Option<&Path>) {
        (self.features.0, self.features.1.as_deref())
    }
}

/// One model or a pair, in words.
fn kind(models: usize) -> &'static str {
    match models {
        1 => "one model",
        2 => "a pair",
        _ => "more than two models",
    }
}

impl Sides {
    /// Reads both, with what a model is `told` of them.
    ///
    /// # Errors
    /// What cannot be read; images of different sizes, or the same one on both sides; one without a caption or class that is told.
    pub(crate) fn open(
        members: &str,
        nonmembers: &str,
        options: &LoadOptions<'_>,
        told: Told,
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let (members, nonmembers) = (
            undoubled(members, options, reporter)?,
            undoubled(nonmembers, options, reporter)?,
        );
        if members.shape() != nonmembers.shape() {
            bail!(
                "members are {:?} and non-members {:?} (channels, height, width)",
                members.shape(),
                nonmembers.shape()
            );
        }
        refuse_both(&members, &nonmembers)?;
        let (labels, alike) = labels(&members, &nonmembers, reporter)?;
        let captions = || {
            [&members, &nonmembers]
                .into_iter()
                .flat_map(|set| set.records.iter().map(move |r| (set, r)))
                .map(|(set, record)| told.words(set, record))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            captions: (told != Told::Nothing).then(captions).transpose()?,
            labels,
            alike,
            x: Tensor::cat(&[tensor_of_all(&members), tensor_of_all(&nonmembers)], 0),
            members,
            nonmembers,
        })
    }

    /// Members, then non-members.
    fn both(&self) -> [&ImageSet; 2] {
        [&self.members, &self.nonmembers]
    }

    /// The captions of every sample, or its class; `None` where a model is told neither.
    pub fn texts(&self) -> Option<Vec<&[String]>> {
        let captions = self.captions.as_ref()?;
        Some(captions.iter().map(Vec::as_slice).collect())
    }

    /// What a reader must know if members and non-members are not different pictures.
    pub fn unlike(&self) -> Option<String> {
        (self.alike > 0).then(|| {
            format!(
                "{} of {} members look almost the same as a non-member: what a model knows of the one it knows of the other, so attacks look weaker \
                 than they are; leave such non-members out",
                self.alike,
                self.members.len()
            )
        })
    }

    /// What a reader must know of how the images were read: what was left out, transparency.
    pub fn notes(&self) -> Vec<String> {
        [
            notes_of("members", &self.members),
            notes_of("non-members", &self.nonmembers),
        ]
        .concat()
    }

    /// Height and width.
    pub fn sides(&self) -> [usize; 2] {
        let [_, height, width] = self.members.shape();
        [height, width]
    }
}

/// The notes on a set by its side, and not by its folder: the report repeats them.
fn notes_of(side: &str, set: &ImageSet) -> Vec<String> {
    let notes = set.notes.iter();
    notes.map(|note| format!("{side}: {note}")).collect()
}

/// Labels of members and non-members, groups being those of the sets and near-duplicates; and how many members look almost the
/// same as a non-member.
fn labels(
    members: &ImageSet,
    nonmembers: &ImageSet,
    reporter: &dyn Reporter,
) -> Result<(Vec<Label>, usize)> {
    let all = [&members.records[..], &nonmembers.records[..]].concat();
    let both = ImageSet::new(String::new(), None, all)?;
    let groups = near_duplicates(&both, &NearDuplicateOptions::default());
    if let Some(note) = groups.note() {
        reporter.warn(&format!("warning: members and non-members: {note}"));
    }
    let n = members.len();
    let labels = (both.records.iter().enumerate())
        .map(|(i, record)| Label {
            id: record.id.as_str().to_owned(),
            name: record.name.clone(),
            group: groups.name(i).map(str::to_owned),
            member: i < n,
        })
        .collect();
    let alike = alike_across(&both, n, &NearDuplicateOptions::default());
    Ok((labels, alike.len()))
}

/// How many images of `a` look almost the same as one of `b`.
fn alike(a: &Sides, b: &Sides) -> Result<usize> {
    let of = |sides: &Sides| [&sides.members.records[..], &sides.nonmembers.records[..]].concat();
    let (first, second) = (of(a), of(b));
    let n = first.len();
    let all = ImageSet::new(String::new(), None, [first, second].concat())?;
    Ok(alike_across(&all, n, &NearDuplicateOptions::default()).len())
}

/// An image cannot have been trained on and not: found before anything is computed.
fn refuse_both(members: &ImageSet, nonmembers: &ImageSet) -> Result<()> {
    let ids: HashMap<&str, &Record> = members.records.iter().map(|r| (r.id.as_str(), r)).collect();
    let both = |r: &&Record| ids.contains_key(r.id.as_str());
    let Some(nonmember) = nonmembers.records.iter().find(both) else {
        return Ok(());
    };
    let count = nonmembers.records.iter().filter(both).count();
    let member = ids.get(nonmember.id.as_str());
    bail!(
        "{} in {} and {} in {} are the same image{}: one that was trained on cannot be among those that were not; take it out of one of the two",
        member.map_or_else(String::new, |member| called(members, member)),
        shown(&members.source),
        called(nonmembers, nonmember),
        shown(&nonmembers.source),
        match count {
            1 => String::new(),
            _ => format!(" (and {} more)", count - 1),
        }
    )
}

/// The file of an image in a folder, with the name that it had before where its set keeps that; the image's name elsewhere.
fn called(set: &ImageSet, record: &Record) -> String {
    match file_of(set, record) {
        Some(file) => format!("{} (originally {})", shown(&file), shown(&record.name)),
        None => shown(&record.name).to_string(),
    }
}

/// The file of an image whose name is that of another one, as the folder's `metadata.jsonl` says.
fn file_of(set: &ImageSet, record: &Record) -> Option<String> {
    let folder = Path::new(&set.source);
    if folder.join(&record.name).exists() {
        return None;
    }
    let lines = folder.join("metadata.jsonl");
    let text = dualmd_files::read_text(&lines, dualmd_files::limit::TABLE).ok()?;
    text.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        if line["original"].as_str()? != record.name {
            return None;
        }
        line["file_name"].as_str().map(str::to_owned)
    })
}

/// An image set without exact duplicates.
///
/// # Errors
/// It cannot be read or holds no images.
pub fn undoubled(
    data: &str,
    options: &LoadOptions<'_>,
    reporter: &dyn Reporter,
) -> Result<ImageSet> {
    let mut set = pictures::load(data, options, reporter)?;
    let report = dedupe(&mut set);
    if !report.dropped.is_empty() {
        reporter.warn(&format!(
            "warning: {data}: {} exact duplicates dropped",
            report.dropped.len()
        ));
    }
    if set.is_empty() {
        bail!("{data} holds no images");
    }
    Ok(set)
}

/// Have both the same noise at every timestep? A model in another process gives its schedule as a table, in f32 perhaps, in which
/// abar has 24 bits.
fn same_noise(a: &Model, b: &Model) -> bool {
    let (one, other) = (a.schedule(), b.schedule());
    if a.foreign().is_none() && b.foreign().is_none() {
        // The shift of a flow chooses the levels of its sampling run; attacks ask all flows at the same.
        return one.config() == other.config() || (one.is_flow() && other.is_flow());
    }
    let close = |t: i64| (one.alpha_bar(t) - other.alpha_bar(t)).abs() < 1e-6;
    one.len() == other.len() && (0..one.len() as i64).all(close)
}

/// A model beside the target (`what`) answers the same questions.
fn check_alike(target: &Generator, other: &Generator, folder: &Path, what: &str) -> Result<()> {
    let (a, b) = (target.first(), other.first());
    if !same_noise(a, b) {
        bail!(
            "{} has another noise schedule than the model: their losses at one timestep are not comparable",
            folder.display()
        );
    }
    if a.sample_shape() != b.sample_shape() {
        bail!(
            "{} takes inputs of shape {:?}, the model of {:?}",
            folder.display(),
            b.sample_shape(),
            a.sample_shape()
        );
    }
    if a.labels() != b.labels() {
        bail!(
            "{} is told other classes than the model, or one of them is told none: their answers are not comparable",
            folder.display()
        );
    }
    if target.fingerprint() == other.fingerprint() {
        bail!(
            "{} is the model itself: a {what} is one that was trained on other images",
            folder.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::{Picture, load, save_folder};

    #[test]
    fn an_image_of_a_folder_is_called_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let picture = Picture::filled(4, 4, 1, 7);
        let record = Record {
            id: picture.id(),
            picture,
            captions: vec![],
            group: None,
            label: None,
            name: "train/1.png".into(),
            file: None,
        };
        let set = ImageSet::new("pictures".into(), None, vec![record]).unwrap();
        assert_eq!(called(&set, &set.records[0]), "train/1.png");
        let folder = dir.path().join("folder");
        save_folder(&set, &folder).unwrap();
        let set = load(folder.to_str().unwrap(), &LoadOptions::default()).unwrap();
        assert_eq!(set.records[0].name, "train/1.png");
        let said = called(&set, &set.records[0]);
        assert_eq!(said, "train_1.png (originally train/1.png)");
        assert!(folder.join("train_1.png").is_file());
    }

    #[test]
    fn notes_name_the_side_and_no_folder() {
        let picture = Picture::filled(4, 4, 1, 7);
        let record = Record {
            id: picture.id(),
            picture,
            captions: vec![],
            group: None,
            label: None,
            name: "1.png".into(),
            file: None,
        };
        let mut set = ImageSet::new("/srv/photos of anna".into(), None, vec![record]).unwrap();
        set.notes.push("3 pictures grey".into());
        assert_eq!(notes_of("members", &set), ["members: 3 pictures grey"]);
    }

    #[test]
    fn an_image_on_both_sides_is_named_in_both() {
        let set = |source: &str, values: &[u8]| {
            let record = |(i, &value): (usize, &u8)| {
                let picture = Picture::filled(4, 4, 1, value);
                Record {
                    id: picture.id(),
                    picture,
                    captions: vec![],
                    group: None,
                    label: None,
                    name: format!("{i}.png"),
                    file: None,
                }
            };
            let records = values.iter().enumerate().map(record).collect();
            ImageSet::new(source.into(), None, records).unwrap()
        };
        let members = set("train", &[1, 2, 3]);
        refuse_both(&members, &set("heldout", &[4, 5])).unwrap();
        let error = refuse_both(&members, &set("heldout", &[4, 3, 5]));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("2.png in train and 1.png in heldout are the same image:"),
            "{error}"
        );
        let error = refuse_both(&members, &set("heldout", &[2, 3]));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("1.png in train and 0.png in heldout") && error.contains("1 more"),
            "{error}"
        );
    }
}
