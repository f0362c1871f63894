//! Images, split and plan.

use super::brought::{self, Brought};
use super::text::Told;
use super::train_images::TrainImages;
use super::{RunFolder, beforehand, captions, prepared, text};
use crate::choices::{NearDuplicates, ResizeFilter, SplitMethod};
use crate::experiment::{Data, Experiment};
use crate::plan::{CaptionFacts, Context as PlanContext, DataFacts, JobKind, NetworkFacts, Plan};
use crate::reporter::meanwhile;
use crate::session::Session;
use anyhow::{Context, Result, anyhow, bail};
use dualmd_data::{
    DedupeReport, Filter, Groups, ImageSet, Listing, LoadOptions, Method, NearDuplicateOptions,
    Selected, Split, dedupe, load, stream,
};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{Backbone, BackboneConfig};
use dualmd_torch::weights::Halves;
use dualmd_torch::{Device, Tensor};
use rand::seq::SliceRandom;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

/// The images of a run, ready to train on. Their pixels lie in a file.
pub struct Images {
    /// The whole source, duplicates dropped; or what of it is prepared.
    pub listing: Listing,
    /// What belongs together in the whole source, near-duplicates as the experiment wants them treated; none where only a part of it is there.
    pub groups: Option<Groups>,
    /// Who is a member.
    pub split: Split,
    /// The same as positions in `listing`.
    pub selected: Selected,
    /// Where only the images that trainings need are there: those outside the split, in the order in which they are taken.
    pub outside: Option<Vec<usize>>,
}

impl Images {
    /// What is known of the images, without their pixels.
    pub fn set(&self) -> &ImageSet {
        self.listing.set()
    }

    /// Places among the members and among the non-members of one image of each group; `None` where each is alone.
    pub fn alone(&self) -> Option<[Vec<usize>; 2]> {
        let own = self.split.members().iter();
        let others = self.split.nonmembers().iter();
        let groups: std::collections::BTreeMap<&str, &String> = own
            .filter_map(|m| Some((m.id.as_str(), m.group.as_ref()?)))
            .chain(others.filter_map(|n| Some((n.id.as_str(), n.group.as_ref()?))))
            .collect();
        let of = |positions: &[usize]| -> Vec<Option<String>> {
            let ids = positions.iter().map(|&i| self.set().records[i].id.as_str());
            ids.map(|id| groups.get(id).map(|g| (*g).clone())).collect()
        };
        super::alone(&of(&self.selected.members), &of(&self.selected.nonmembers))
    }

    /// Positions of `n` pictures that are neither members nor non-members nor near-duplicates of any, drawn by `seed`.
    ///
    /// # Errors
    /// The source holds too few; images that cannot be read.
    pub fn outside(&self, n: usize, near: NearDuplicates, seed: u64) -> Result<Vec<usize>> {
        if n == 0 {
            return Ok(Vec::new());
        }
        let mut free = match &self.outside {
            Some(drawn) => drawn.clone(),
            None => {
                let mut free = self.free(near)?;
                free.shuffle(&mut stream(seed, "reference", 0));
                free
            }
        };
        if free.len() < n {
            return Err(too_few(n, &self.set().source, free.len()));
        }
        free.truncate(n);
        Ok(free)
    }

    /// Positions of all pictures that are neither members nor non-members nor near-duplicates of any.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn free(&self, near: NearDuplicates) -> Result<Vec<usize>> {
        let groups = match &self.groups {
            Some(groups) => Cow::Borrowed(groups),
            None => Cow::Owned(group(&self.listing, near)?),
        };
        let s = &self.selected;
        let taken: BTreeSet<usize> = s
            .members
            .iter()
            .chain(&s.nonmembers)
            .map(|&i| groups.of[i])
            .collect();
        Ok((0..self.set().len())
            .filter(|&i| !taken.contains(&groups.of[i]))
            .collect())
    }

    /// [N, C, H, W] f32 in [-1, 1] of the pictures at `positions`.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn tensor(&self, positions: &[usize], device: Device) -> Result<Tensor> {
        let [c, h, w] = self.set().shape().map(|side| side as i64);
        let values = self.listing.pixels().to_f32(positions)?;
        let images = Tensor::from_slice(&values).f_view([positions.len() as i64, c, h, w])?;
        Ok(images.f_to_device(device)?)
    }

    /// The members, and after them the non-members, with their pixels in memory; of these so many are members.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn held(&self) -> Result<(ImageSet, usize)> {
        let s = &self.selected;
        let both = [&s.members[..], &s.nonmembers].concat();
        Ok((self.listing.held(&both)?, s.members.len()))
    }
}

fn filter(filter: ResizeFilter) -> Filter {
    match filter {
        ResizeFilter::Bilinear => Filter::Bilinear,
        ResizeFilter::Lanczos3 => Filter::Lanczos3,
    }
}

/// There are not `n` images that nobody else sees.
pub fn too_few(n: usize, source: &str, there: usize) -> anyhow::Error {
    anyhow!(
        "{n} more images are needed that are neither members nor non-members (for a model to compare with, for early stopping to watch, or for the \
         attacker of smp), and {source} has {there}: ask for fewer members or non-members (data.members, data.nonmembers), or do without"
    )
}

/// How many images that nobody else sees a training needs beside `members` members.
pub fn outside_for(kind: &JobKind, members: usize) -> usize {
    match kind {
        // A model like the others.
        JobKind::Reference => members,
        JobKind::EarlyStopping { .. } | JobKind::Smp { .. } => watched(members),
        _ => 0,
    }
}

/// The same of the training that needs most of them.
pub fn most_outside(plan: &Plan, members: usize) -> usize {
    let jobs = plan.trainings.iter();
    let needed = jobs.map(|job| outside_for(&job.kind, members));
    needed.max().unwrap_or(0)
}

/// How many images early stopping watches beside `members` members, and the attacker of `smp` tells them from.
pub fn watched(members: usize) -> usize {
    members.clamp(FEWEST_WATCHED, MOST_WATCHED)
}

/// Bounds of the calibration images of early stopping; the training loop looks at 256 at most.
const FEWEST_WATCHED: usize = 32;
const MOST_WATCHED: usize = 256;

/// Reads the source and drops exact duplicates. What reading it was like is in the set's notes, and becomes part of the plan. With
/// `data.labels` the one caption of each picture is its class.
pub fn read(data: &Data) -> Result<(ImageSet, DedupeReport)> {
    let mut set = load(&data.source, &how(data))?;
    let report = dedupe(&mut set);
    tell(data, &mut set)?;
    Ok((set, report))
}

/// As [`read`], image by image: the pixels go to a file without a name in `folder`, so that memory holds what is known of the
/// images only.
pub fn list(data: &Data, folder: &Path) -> Result<(Listing, DedupeReport)> {
    let mut listing = Listing::of(&data.source, &how(data), folder)?;
    let report = listing.dedupe()?;
    tell(data, listing.set_mut())?;
    Ok((listing, report))
}

/// How a run's images are loaded.
fn how(data: &Data) -> LoadOptions<'_> {
    LoadOptions {
        image_size: Some(data.image_size),
        channels: data.channels,
        resize: filter(data.filter),
        alpha: data.alpha.into(),
        group_column: data.group_column.as_deref(),
        id_column: data.id_column.as_deref(),
        caption_column: data.caption_column.as_deref(),
        label_column: data.label_column.as_deref(),
        ..LoadOptions::default()
    }
}

/// Gives the images the captions or classes that the experiment asks for.
fn tell(data: &Data, set: &mut ImageSet) -> Result<()> {
    if let Some(path) = &data.captions {
        captions::take(set, Path::new(path))?;
    }
    if data.labels {
        // What a class-conditional network is told stands where the words of every other are: it is kept, hashed and shown with them.
        let known = &*set;
        let words = known.records.iter();
        let words = words.map(|record| Told::Class.words(known, record));
        let words = words.collect::<Result<Vec<_>>>()?;
        for (record, words) in set.records.iter_mut().zip(words) {
            record.captions = words;
        }
    }
    Ok(())
}

/// BLAKE3 over what a run takes from its source: the content ids of all images in their order, their captions and groups.
pub fn content(set: &ImageSet) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        // The length keeps one text and the next apart.
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for record in &set.records {
        add(record.id.as_str());
        add(record.group.as_deref().unwrap_or_default());
        add(&record.captions.len().to_string());
        record.captions.iter().for_each(|caption| add(caption));
    }
    hasher.finalize().to_hex().to_string()
}

/// Near-duplicates as the experiment wants them treated.
///
/// # Errors
/// Images that cannot be read.
pub fn group(listing: &Listing, choice: NearDuplicates) -> Result<Groups> {
    Ok(match choice {
        NearDuplicates::Group => listing.near_duplicates(&NearDuplicateOptions::default())?,
        NearDuplicates::Ignore => Groups::given(listing.set()),
    })
}

/// All pictures of a split as a set of their own: what coins are tossed for.
pub fn pool(listing: &Listing, split: &Split) -> Result<Listing> {
    Ok(listing.part(&both_sides(listing.set(), split)?)?)
}

/// Positions of all pictures of a split, in the set's order.
fn both_sides(set: &ImageSet, split: &Split) -> Result<Vec<usize>> {
    let picked = split.select(set)?;
    let mut positions = [picked.members, picked.nonmembers].concat();
    positions.sort_unstable();
    Ok(positions)
}

/// The pictures at `positions` as a set of their own.
fn subset(set: &ImageSet, positions: &[usize]) -> Result<ImageSet> {
    let records = positions.iter().map(|&i| set.records[i].clone()).collect();
    Ok(ImageSet::new(
        set.source.clone(),
        set.licence.clone(),
        records,
    )?)
}

/// Draws a split. A coin-flip split tosses `members + nonmembers` images (all of them if `nonmembers` is not given); `grouped`
/// gives the groups of the pictures at some positions. No pixel is looked at here.
pub fn draw(
    set: &ImageSet,
    groups: &Groups,
    method: SplitMethod,
    members: usize,
    nonmembers: Option<usize>,
    seed: u64,
    grouped: &dyn Fn(&[usize]) -> Result<Groups>,
) -> Result<Split> {
    let exact = Split::half(set, groups, members, nonmembers, seed)?;
    if method == SplitMethod::Half {
        return Ok(exact);
    }
    let positions = both_sides(set, &exact)?;
    let pool = subset(set, &positions)?;
    Ok(Split::coin_flip(&pool, &grouped(&positions)?, seed, 0.5)?)
}

/// Reads the images, draws the split (or takes the folder's), resolves the plan and writes all three. While it works, the pixels of the
/// whole source wait in a file without a name in the run's folder.
pub fn prepare(
    experiment: &Experiment,
    run: &RunFolder,
    session: &Session,
) -> Result<(Plan, Images)> {
    dualmd_files::create_private_folder(&run.0)?;
    let Resolved {
        plan,
        images,
        outside,
    } = resolve(experiment, run, &run.0, session)?;
    if !run.split().exists() {
        images.split.save(&run.split())?;
    }
    dualmd_files::write(&run.experiment(), plan.experiment_toml.as_bytes())?;
    plan.save(&run.plan())?;
    prepared::write(run, &images, &outside)?;
    Ok((plan, images))
}

/// What a run is going to do, and with which images.
pub struct Resolved {
    /// The plan.
    pub plan: Plan,
    /// The images.
    pub images: Images,
    /// Positions of those that nobody else sees, as many as the training that needs most of them takes.
    pub outside: Vec<usize>,
}

/// What [`prepare`] finds out before it writes. What the folder of the run holds is read, as far as there is such a folder. The pixels of the
/// whole source wait in a file without a name in the folder `pixels`.
///
/// # Errors
/// As [`prepare`]: images that cannot be read or are too few, a folder of another run, a network that cannot be built.
pub fn resolve(
    experiment: &Experiment,
    run: &RunFolder,
    pixels: &Path,
    session: &Session,
) -> Result<Resolved> {
    let reporter = session.reporter.as_ref();
    let listed = meanwhile(reporter, "", "reading images", || {
        list(&experiment.data, pixels)
    });
    let (listing, duplicates) = match listed {
        Err(error) if run.plan().exists() => {
            return Err(error.context(format!(
                "the images of {} cannot be read; if they have moved, say where they are now: --set data.source=PATH",
                dualmd_files::shown(&run.0)
            )));
        }
        other => other?,
    };
    let engine = session.engine.to_train(experiment.train.dtype)?;
    let set = listing.set();
    let groups = meanwhile(reporter, "", "near-duplicates", || {
        group(&listing, experiment.data.near_duplicates)
    })?;
    let split = if run.split().exists() {
        let split = Split::load(&run.split())?;
        let asked = match experiment.data.method {
            SplitMethod::Half => Method::Half,
            SplitMethod::CoinFlip => Method::CoinFlip,
        };
        let sizes = asked == Method::CoinFlip
            || (split.members().len(), split.nonmembers().len())
                == (experiment.data.members, experiment.data.nonmembers);
        // A split that was imported by hand is taken as it is.
        let own = split.method() == Method::Import
            || (split.method() == asked && split.seed() == experiment.seed && sizes);
        if !own {
            bail!(
                "{} was drawn with other settings (seed, method or sizes): choose another folder (--out), or remove it",
                run.split().display()
            );
        }
        split
    } else {
        let data = &experiment.data;
        draw(
            set,
            &groups,
            data.method,
            data.members,
            Some(data.nonmembers),
            experiment.seed,
            &|pool| group(&listing.part(pool)?, data.near_duplicates),
        )?
    };
    let selected = split.select(set)?;
    let pretraining = (experiment.is_text() && experiment.pretrain.is_some())
        .then(|| pretraining_images(experiment, pixels))
        .transpose()?;
    let network = meanwhile(reporter, "", "opening the network", || {
        network_facts(experiment, set, &selected, pretraining.as_ref())
    })?;
    let context = PlanContext {
        name: run
            .0
            .file_name()
            .map_or_else(|| "run".into(), |n| n.to_string_lossy().into_owned()),
        created: crate::machine::now(),
        command: session.command.clone(),
        auditor: session.auditor.clone(),
        versions: crate::machine::versions(),
        cpu: crate::machine::cpu_name(),
        cores: engine.threads,
        memory_gb: crate::machine::memory_gb(),
        device: engine.device_name(),
        dtype: engine.precision.name().into(),
        data: DataFacts {
            source: experiment.data.source.clone(),
            image_size: experiment.data.image_size,
            channels: u8::try_from(set.shape()[0]).unwrap_or(3),
            records: set.len(),
            duplicates_dropped: duplicates.dropped.len(),
            near_duplicate_groups: groups.shared(),
            members: selected.members.len(),
            nonmembers: selected.nonmembers.len(),
            d1: selected.d1.len(),
            d2: selected.d2.len(),
            licence: set.licence.clone(),
            captions: experiment.is_text().then(|| {
                let single = |i: &&usize| set.records[**i].captions.len() < 2;
                let one = selected.members.iter().filter(single).count();
                CaptionFacts {
                    one,
                    several: selected.members.len() - one,
                }
            }),
            content: Some(content(set)),
            pretrain_content: pretraining.as_ref().map(|base| content(base.set())),
        },
        split_hash: split.hash().to_owned(),
        network,
    };
    let mut plan = Plan::resolve(experiment, &context)?;
    let notes = set.notes.iter();
    plan.warnings
        .extend(notes.map(|note| format!("{}: {note}", set.source)));
    let searched = groups.note();
    plan.warnings
        .extend(searched.map(|note| format!("{}: {note}", set.source)));
    let images = Images {
        listing,
        groups: Some(groups),
        split,
        selected,
        outside: None,
    };
    // Found now and not after hours of training. Who needs fewer takes the first of them.
    let members = images.selected.members.len();
    let jobs = plan.trainings.iter();
    let most = jobs.max_by_key(|job| outside_for(&job.kind, members));
    let outside = match most {
        Some(job) => images
            .outside(
                outside_for(&job.kind, members),
                experiment.data.near_duplicates,
                experiment.seed,
            )
            .with_context(|| format!("model {}", job.name))?,
        None => Vec::new(),
    };
    if plan.model.text {
        for &i in &outside {
            text::captions_of(images.set(), &images.set().records[i])?;
        }
    }
    if run.plan().exists() {
        plan = plan.go_on_from(&Plan::load(&run.plan())?)?;
    }
    Ok(Resolved {
        plan,
        images,
        outside,
    })
}

/// The network all models of the experiment have. It is built once, to count, and to find a configuration that cannot be built
/// before anything is written.
fn network_facts(
    experiment: &Experiment,
    set: &ImageSet,
    selected: &Selected,
    pretraining: Option<&Images>,
) -> Result<NetworkFacts> {
    let model = &experiment.model;
    let mut labels = match experiment.data.labels {
        true => Some(text::classes_of(set)?),
        false => None,
    };
    let (parameters, config, [base, autoencoder]) = if experiment.is_text() {
        for &i in selected.members.iter().chain(&selected.nonmembers) {
            text::captions_of(set, &set.records[i])?;
        }
        if let Some(base) = pretraining {
            check_pretraining(base.set(), set, selected)?;
        }
        let origin = text::origin(experiment, set.shape(), Halves::Kept, Device::Cpu)?;
        beforehand::check_schedule(experiment, &origin.schedule, origin.is_latent())?;
        let folder = model.base.as_ref().map(|f| vec![f.into()]);
        let base = folder.map(|f| super::generator::fingerprint(&f, WeightSet::Ema));
        (
            origin.unet.parameters().count(),
            serde_json::to_value(origin.unet.config())?,
            [base.transpose()?, None],
        )
    } else {
        let brought = Brought::of(experiment, Device::Cpu)?;
        brought.check(experiment)?;
        brought.check_schedule(experiment)?;
        let seen = brought.seen(set.shape())?;
        labels = labels.map(|own| brought.classes(own)).transpose()?;
        let network = match brought.network {
            Some(network) => network,
            None => {
                let config = network(experiment, seen, labels.as_ref().map(Vec::len))?;
                Backbone::fresh(&config, 0, Device::Cpu)?
            }
        };
        (
            network.parameters().count(),
            serde_json::to_value(network.config())?,
            brought::hashes(experiment)?,
        )
    };
    Ok(NetworkFacts {
        preset: {
            let folder = model.base.as_ref().or(model.start.as_ref());
            folder.unwrap_or(&model.preset).clone()
        },
        parameters: parameters as u64,
        text: experiment.is_text(),
        labels,
        base,
        autoencoder,
        config,
    })
}

/// The preset with the experiment's overrides, for images or latents of [C, H, W]; `classes`: how many there are, of a network that is told
/// one. Where labels are left out at times, it has one embedding more, for no label; a transformer has it in any case.
///
/// # Errors
/// An override that makes no network, or none that is trained here.
pub fn network(
    experiment: &Experiment,
    [channels, height, _]: [usize; 3],
    classes: Option<usize>,
) -> Result<BackboneConfig> {
    let base = BackboneConfig::preset(&experiment.model.preset, channels as i64, height as i64)?;
    let overrides = experiment.model.overrides()?;
    let mut value = serde_json::to_value(&base)?;
    let Some(keys) = value.as_object_mut() else {
        bail!("a network configuration is a table")
    };
    keys.extend(overrides);
    if let Some(classes) = classes {
        let (key, embeddings) = base.key_of_classes(classes, experiment.drops_labels());
        keys.insert(key.into(), embeddings.into());
    }
    let config = BackboneConfig::read(&value).context("[model]")?;
    if config.predicts_variance() {
        bail!(
            "[model] out_channels = {}: a variance is not trained here, and this network would have one that nobody trained; remove it \
             (model.start takes a folder whose network has learnt one)",
            config.out_channels()
        );
    }
    Ok(config)
}

/// The images of `[pretrain]`: nine in ten are learnt (the members), on the rest the loss is watched. Their pixels wait in a file without a
/// name in the folder `pixels`.
pub fn pretraining_images(experiment: &Experiment, pixels: &Path) -> Result<Images> {
    let Some(pretrain) = &experiment.pretrain else {
        bail!("plan.json: a base is to be trained and the experiment has no [pretrain]")
    };
    let data = Data {
        source: pretrain.source.clone(),
        // Those are of other images.
        captions: None,
        ..experiment.data.clone()
    };
    let (mut listing, _) = list(&data, pixels)?;
    let set = listing.set_mut();
    // Nothing is audited here: what belongs together may be parted.
    set.records.iter_mut().for_each(|r| r.group = None);
    let groups = Groups::given(set);
    let watched = (set.len() / 10).clamp(1, MOST_WATCHED);
    let learnt = set.len().saturating_sub(watched) / 2 * 2;
    let split = Split::half(set, &groups, learnt, Some(watched), experiment.seed)
        .with_context(|| format!("pretrain.source = {:?}", pretrain.source))?;
    let selected = split.select(set)?;
    Ok(Images {
        listing,
        groups: Some(groups),
        split,
        selected,
        outside: None,
    })
}

/// The base may see neither members nor non-members, and needs captions and pictures like theirs.
fn check_pretraining(base: &ImageSet, set: &ImageSet, selected: &Selected) -> Result<()> {
    if base.shape() != set.shape() {
        bail!(
            "pretrain.source has pictures of shape {:?}, data.source of {:?}: set data.channels",
            base.shape(),
            set.shape()
        );
    }
    let known: BTreeSet<&str> = base.records.iter().map(|r| r.id.as_str()).collect();
    let audited = selected.members.iter().chain(&selected.nonmembers);
    if let Some(&both) = audited
        .clone()
        .find(|&&i| known.contains(set.records[i].id.as_str()))
    {
        bail!(
            "{} is in pretrain.source and in data.source: the base would know it, member or not; remove it from one of them",
            set.records[both].name
        );
    }
    base.records
        .iter()
        .try_for_each(|record| text::captions_of(base, record).map(|_| ()))
}

/// Images and plan of a folder that was prepared before.
pub fn reopen(run: &RunFolder) -> Result<(Plan, Experiment, Images)> {
    let (plan, experiment) = planned(run)?;
    let split = Split::load(&run.split())?;
    check_split(run, &plan, split.hash())?;
    let images = prepared::read(run, split)?;
    Ok((plan, experiment, images))
}

/// As [`reopen`], with what a training needs of the images.
///
/// # Errors
/// As [`reopen`].
pub fn reopen_to_train(run: &RunFolder) -> Result<(Plan, Experiment, TrainImages)> {
    let (plan, experiment) = planned(run)?;
    let images = match prepared::read_to_train(run, Told::in_run(&plan)) {
        Ok(images) => images,
        Err(error) => {
            // The split of another run is the reason to name.
            check_split(run, &plan, Split::load(&run.split())?.hash())?;
            return Err(error);
        }
    };
    check_split(run, &plan, &images.split_hash)?;
    Ok((plan, experiment, images))
}

fn planned(run: &RunFolder) -> Result<(Plan, Experiment)> {
    let plan = Plan::load(&run.plan())?;
    let place = run.plan().display().to_string();
    let experiment = Experiment::parse(&plan.experiment_toml, &place, &[])?;
    Ok((plan, experiment))
}

fn check_split(run: &RunFolder, plan: &Plan, hash: &str) -> Result<()> {
    if hash != plan.split_hash {
        bail!(
            "{} is not the split this run was planned with (hash {hash}, not {}): put the original back",
            run.split().display(),
            plan.split_hash
        );
    }
    Ok(())
}
