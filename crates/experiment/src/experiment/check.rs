//! Ranges, names, and what contradicts what: everything that can be said before any image is read.

use super::keys::check_ranges;
use super::{Experiment, ModelEntry, Train};
use crate::choices::{
    CaptionChoice, Features, Init, Levels, LoraSave, Objective, Reference, Sampler, SplitMethod,
};
use crate::suggest::nearest;
use anyhow::{Result, bail};
use dualmd_names::{Defense, ModelKind, Part};
use std::collections::BTreeMap;

/// Networks of text-to-image models that `model.preset` may name (`dualmd_diffusion::latent::LATENT_PRESETS`).
pub const TEXT_NETWORKS: [&str; 3] = ["t2i-pixels-32", "t2i-latent-small", "t2i-xl-small"];
/// The model of other images that attacks may compare with.
pub const REFERENCE: &str = ModelKind::REFERENCE;
/// Folder of a run's shadow, and the name that its seed comes from.
pub const SHADOW: &str = "shadow";

/// What all models start from where there is a `[pretrain]`.
pub const BASE: &str = ModelKind::BASE;

impl Experiment {
    /// Checks every value; `origin` names the file in messages.
    ///
    /// # Errors
    /// All problems at once, one a line, each with its key.
    pub fn check(&self, origin: &str) -> Result<()> {
        let mut problems = Vec::new();
        self.check_data(&mut problems);
        check_ranges("data.", &self.data, &mut problems);
        check_ranges("sample.", &self.sample, &mut problems);
        check_ranges("audit.", &self.audit, &mut problems);
        check_training(&self.train, "train", &mut problems);
        self.check_text(&mut problems);
        self.check_brought(&mut problems);
        self.check_labels(&mut problems);
        self.check_init(&mut problems);
        self.check_rest(&mut problems);
        check_models(self, &mut problems);
        match problems.as_slice() {
            [] => Ok(()),
            [one] => bail!("{origin}: {one}"),
            many => bail!("{origin}: {} problems\n{}", many.len(), many.join("\n")),
        }
    }

    fn check_data(&self, problems: &mut Vec<String>) {
        let d = &self.data;
        let coin = d.method == SplitMethod::CoinFlip;
        if d.source.trim().is_empty() {
            problems.push(
                "data.source is not set: give `fashion`, `emoji` or a path, in the file or with --set data.source=PATH"
                    .into(),
            );
        }
        if !matches!(d.channels, None | Some(1 | 3)) {
            problems.push(format!(
                "data.channels = {}: use 1 (grey) or 3 (colour)",
                d.channels.unwrap_or_default()
            ));
        }
        if !coin && !d.members.is_multiple_of(2) {
            problems.push(format!(
                "data.members = {}: an even number of at least 2 is needed, because D1 and D2 are halves of the members",
                d.members
            ));
        }
    }

    fn check_rest(&self, problems: &mut Vec<String>) {
        let (s, a) = (&self.sample, &self.audit);
        if i64::try_from(self.seed).is_err() {
            problems.push(format!(
                "seed = {}: use a number from 0 to {}",
                self.seed,
                i64::MAX
            ));
        }
        let brought = s.features.as_str().starts_with("inception") || s.features == Features::Vit;
        if brought && s.features_weights.is_none() {
            problems.push(format!(
                "sample.features = {}: name the network's file (of vit: the folder) in sample.features_weights",
                s.features
            ));
        }
        if self.train.objective == Objective::Flow && s.sampler == Sampler::Ddpm {
            problems.push(
                "sample.sampler = \"ddpm\" is not for flows (train.objective), which have no ancestral steps: use \"ddim\", Euler steps \
                 along their path"
                    .into(),
            );
        }
        if !self.is_text() && (s.guidance_from.is_some() || s.early_guidance != 0.0) {
            problems.push(
                "sample.guidance_from and early_guidance are for text-to-image models, and this network is told no text: remove them"
                    .into(),
            );
        } else if s.guidance_from.is_none() && s.early_guidance != 0.0 {
            problems.push(format!(
                "sample.early_guidance = {} applies above sample.guidance_from: set that too (500 is usual), or remove it",
                s.early_guidance
            ));
        }
        if a.attacks.is_empty() && !a.black_box {
            problems.push(
                "audit.attacks is empty and audit.black_box is false: name at least one attack"
                    .into(),
            );
        }
        for (index, attack) in a.attacks.iter().enumerate() {
            if a.attacks[..index].contains(attack) {
                problems.push(format!("audit.attacks names {attack} twice"));
            }
        }
    }
}

impl Experiment {
    /// Is it about text-to-image models?
    pub fn is_text(&self) -> bool {
        let model = &self.model;
        model.base.is_some() || TEXT_NETWORKS.contains(&model.preset.as_str())
    }

    /// Are labels left out at times, by any of the recipes?
    pub fn drops_labels(&self) -> bool {
        let drops = |train: &Train| train.label_dropout > 0.0;
        let own = |model: &ModelEntry| model.recipe(self).ok().flatten();
        drops(&self.train) || self.models.iter().filter_map(own).any(|own| drops(&own))
    }

    /// What only class-conditional models have.
    fn check_labels(&self, problems: &mut Vec<String>) {
        let labels = self.data.labels;
        if labels && self.is_text() {
            problems.push(
                "data.labels = true is for models that are told no text, and these are told one: remove it".into(),
            );
        }
        let recipes = self.models.iter().map(|model| {
            let own = model.recipe(self).ok().flatten();
            (format!("model {}: train", model.name), own)
        });
        let common = ("train".to_owned(), Some(self.train.clone()));
        let recipes: Vec<(String, Train)> = std::iter::once(common)
            .chain(recipes)
            .filter_map(|(section, own)| Some((section, own?)))
            .collect();
        for (section, train) in &recipes {
            if train.label_dropout > 0.0 && !labels {
                problems.push(format!(
                    "{section}.label_dropout is for class-conditional models: set data.labels = true, or remove it"
                ));
            }
            // Guidance would ask with an embedding that was never learnt, unless what training starts from has learnt it.
            let may_know = self.model.start.is_some();
            if labels
                && self.sample.label_guidance != 1.0
                && train.label_dropout == 0.0
                && !may_know
            {
                problems.push(format!(
                    "sample.label_guidance = {} asks the models without a label, and {section}.label_dropout = 0 never trains that: set \
                     it, e.g. to 0.1",
                    self.sample.label_guidance
                ));
            }
        }
        if !labels && self.sample.label_guidance != 1.0 {
            problems.push(
                "sample.label_guidance is for class-conditional models: set data.labels = true, or remove it".into(),
            );
        }
        for model in &self.models {
            if labels && model.defense == Defense::Synthetic {
                problems.push(format!(
                    "model {}: defense = \"synthetic\" is for models that are told no label",
                    model.name
                ));
            }
        }
    }

    /// Do models start from one that was trained before?
    fn starts_somewhere(&self) -> bool {
        let model = &self.model;
        model.base.is_some() || model.start.is_some() || self.pretrain.is_some()
    }

    /// What folders a network that is told no text may bring.
    fn check_brought(&self, problems: &mut Vec<String>) {
        let model = &self.model;
        for (key, given) in [
            ("model.start", model.start.is_some()),
            ("model.autoencoder", model.autoencoder.is_some()),
        ] {
            if given && self.is_text() {
                problems.push(format!(
                    "{key} is for models that are told no text, and these are told one ({}): remove it",
                    match &model.base {
                        Some(_) => "model.base".to_owned(),
                        None => format!("model.preset = \"{}\"", model.preset),
                    }
                ));
            }
        }
        if model.start.is_some() && !model.config.is_empty() {
            problems.push(
                "model.start is a finished network: its configuration cannot be changed, remove the other keys of [model]"
                    .into(),
            );
        }
        if model.start.is_some() && model.autoencoder.is_some() {
            problems.push(
                "model.start and model.autoencoder: a model that training starts from has its own autoencoder, or none; remove model.autoencoder"
                    .into(),
            );
        }
    }

    /// Distilled models that cannot begin as their teachers did.
    fn check_init(&self, problems: &mut Vec<String>) {
        let shared = |model: &&ModelEntry| {
            let own = model.distillation(&self.distill).ok().flatten();
            own.as_ref().unwrap_or(&self.distill).init == Init::Shared
        };
        if let Some(model) = self
            .models
            .iter()
            .find(shared)
            .filter(|_| self.starts_somewhere())
        {
            problems.push(format!(
                "model {}: distill.init = \"shared\" is about random weights, and here all models start from the same base; remove it",
                model.name
            ));
        }
    }

    /// What only text-to-image models have.
    fn check_text(&self, problems: &mut Vec<String>) {
        let preset = &self.model.preset;
        let text = self.is_text();
        if self.model.base.is_some() && !self.model.config.is_empty() {
            problems.push(
                "model.base is a finished network: its configuration cannot be changed, remove the other keys of [model]"
                    .into(),
            );
        }
        if let Some(pretrain) = &self.pretrain {
            if !text {
                problems.push(format!(
                    "[pretrain] is for text-to-image models (model.preset = \"{}\"), and this is {preset}",
                    TEXT_NETWORKS.join("\" or \"")
                ));
            }
            if self.model.base.is_some() {
                problems.push(
                    "model.base and [pretrain] both say what training starts from: keep one".into(),
                );
            }
            if pretrain.source == self.data.source {
                problems.push(format!(
                    "pretrain.source = {:?} is data.source: the base would know the non-members",
                    pretrain.source
                ));
            }
            match pretrain.recipe(&self.train) {
                Ok(own) => {
                    check_training(&own, "pretrain.train", problems);
                    check_text_recipe(&own, "pretrain.train", text, true, problems);
                }
                Err(error) => problems.push(format!("{error:#}").trim_end().replace('\n', " ")),
            }
        }
        let started = self.starts_somewhere();
        if self.audit.reference == Reference::Base && !started {
            problems.push(
                "audit.reference = \"base\" compares with what all models start from: set model.base, model.start or [pretrain], or remove it"
                    .into(),
            );
        }
        check_text_recipe(&self.train, "train", text, started, problems);
        for model in &self.models {
            if let Ok(Some(own)) = model.recipe(self) {
                let section = format!("model {}: train", model.name);
                check_text_recipe(&own, &section, text, started, problems);
            }
        }
        for model in &self.models {
            if text && model.defense == Defense::Synthetic {
                problems.push(format!(
                    "model {}: defense = \"synthetic\" is for models that are told no text",
                    model.name
                ));
            }
            // Whoever shares teachers asks the same of them.
            let sharing = self
                .models
                .iter()
                .find(|m| m.teachers.is_some() && m.teachers == model.teachers);
            if let Some(first) = sharing.filter(|m| m.train != model.train) {
                problems.push(format!(
                    "models {} and {} share the teachers {} and differ in train: give them the same, or teachers of their own",
                    first.name,
                    model.name,
                    model.teachers.as_deref().unwrap_or_default()
                ));
            }
        }
    }
}

/// The keys of a recipe that only text-to-image models have.
fn check_text_recipe(
    t: &Train,
    section: &str,
    text: bool,
    starts_somewhere: bool,
    problems: &mut Vec<String>,
) {
    let mut say = |problem: String| problems.push(problem);
    let told =
        t.captions == CaptionChoice::Any || t.caption_dropout > 0.0 || t.drop_memorised > 0.0;
    if !text && (told || t.lora_rank > 0) {
        say(format!(
            "{section}: captions, caption_dropout, drop_memorised and lora_rank are for text-to-image models, and this network is told no text"
        ));
    } else if t.lora_rank > 0 && !starts_somewhere {
        say(format!(
            "{section}.lora_rank adds to a model that was trained before: set model.base or [pretrain]"
        ));
    }
    if t.lora_rank == 0 && t.lora_save != LoraSave::default() {
        say(format!(
            "{section}.lora_save = \"{}\" is about LoRA: set {section}.lora_rank, or remove it",
            t.lora_save
        ));
    }
    if t.lora_targets.iter().all(|target| target.is_empty()) {
        say(format!(
            "{section}.lora_targets names no layer: to_q and to_v, for example"
        ));
    }
    if text && t.objective == Objective::Flow {
        say(format!(
            "{section}.objective = \"flow\" is for models that are told no text; remove it"
        ));
    }
}

fn check_training(t: &Train, section: &str, problems: &mut Vec<String>) {
    check_ranges(&format!("{section}."), t, problems);
    if t.accumulate > t.batch.max(1) {
        problems.push(format!(
            "{section}.accumulate = {}: 1 to train.batch is needed",
            t.accumulate
        ));
    }
    if t.levels != Levels::default() && t.objective != Objective::Flow {
        problems.push(format!(
            "{section}.levels = \"{}\" is about flows, and {section}.objective is \"{}\": set it to \"flow\", or remove levels",
            t.levels, t.objective
        ));
    }
}

fn check_models(experiment: &Experiment, problems: &mut Vec<String>) {
    let models = &experiment.models;
    if models.is_empty() {
        problems.push(
            "no [[models]]: say what to train, e.g. name = \"baseline\", defense = \"none\"".into(),
        );
    }
    // Without regard to case, because some file systems have none.
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for model in models {
        if let Some(problem) = name_problem(&model.name) {
            problems.push(problem);
        }
        if let Some(first) = seen.insert(model.name.to_lowercase(), &model.name) {
            problems.push(format!(
                "two models are named {first}: their folders under models/ would be the same"
            ));
        }
        check_own_keys(model, experiment, problems);
        if model.defense != Defense::Kd {
            if model.teacher.is_some() {
                problems.push(format!(
                    "model {}: only defense = \"kd\" has a teacher of its own; remove it",
                    model.name
                ));
            }
            continue;
        }
        let teacher = model.kd_teacher();
        if !models
            .iter()
            .any(|other| other.name == teacher && other.defense == Defense::None)
        {
            let ordinary: Vec<_> = models
                .iter()
                .filter(|m| m.defense == Defense::None)
                .map(|m| m.name.as_str())
                .collect();
            let remedy = match (
                nearest(teacher, ordinary.iter().copied()),
                ordinary.as_slice(),
            ) {
                (Some(near), _) => format!("did you mean {near}?"),
                (None, []) => "add one".into(),
                (None, some) => format!("set teacher to one of: {}", some.join(", ")),
            };
            problems.push(format!(
                "model {}: its teacher {teacher} is no model with defense = \"none\" in this experiment: {remedy}",
                model.name
            ));
        }
    }
}

/// Keys that only some defences have, and a model's own recipe.
fn check_own_keys(model: &ModelEntry, experiment: &Experiment, problems: &mut Vec<String>) {
    use Defense::{
        Ambient, Distillmd, DpSgd, Dualmd, EarlyStopping, Ensemble, Iet, KWay, Kd, Smp, Synthetic,
    };
    let name = &model.name;
    let mut only = |key: &str, given: bool, defenses: &[Defense]| {
        if given && !defenses.contains(&model.defense) {
            let list: Vec<_> = defenses.iter().map(|d| d.name()).collect();
            problems.push(format!(
                "model {name}: {key} is for defense = \"{}\"; remove it",
                list.join("\" or \"")
            ));
        }
    };
    only("epsilon", model.epsilon.is_some(), &[DpSgd]);
    only(
        "noise_multiplier",
        model.noise_multiplier.is_some(),
        &[DpSgd],
    );
    only("clip", model.clip.is_some(), &[DpSgd]);
    only(
        "noise_multiplicity",
        model.noise_multiplicity.is_some(),
        &[DpSgd],
    );
    only("patience", model.patience.is_some(), &[EarlyStopping]);
    only("shards", model.shards.is_some(), &[KWay, Ensemble, Iet]);
    only("rounds", model.rounds.is_some(), &[Iet]);
    only("own_noise", model.own_noise.is_some(), &[Ambient]);
    only("alpha", model.alpha.is_some(), &[Smp]);
    only("beta", model.beta.is_some(), &[Smp]);
    only("attacker_rate", model.attacker_rate.is_some(), &[Smp]);
    only("attacker_steps", model.attacker_steps.is_some(), &[Smp]);
    only("images", model.images.is_some(), &[Synthetic]);
    only(
        "teachers",
        model.teachers.is_some(),
        &[Dualmd, Distillmd, Synthetic],
    );
    only("distill", !model.distill.is_empty(), &[Distillmd, KWay, Kd]);
    if let Err(error) = model.distillation(&experiment.distill) {
        problems.push(format!("{error:#}").trim_end().replace('\n', " "));
    }
    if model.defense == DpSgd && model.epsilon.is_some() == model.noise_multiplier.is_some() {
        problems.push(format!(
            "model {name}: dp-sgd needs either epsilon (what it may spend) or noise_multiplier"
        ));
    }
    check_ranges(&format!("model {name}: "), model, problems);
    let fewest = if model.defense == Ensemble { 3 } else { 2 };
    if matches!(model.defense, KWay | Ensemble | Iet)
        && !(fewest..=experiment.data.members.max(fewest)).contains(&model.shards())
    {
        problems.push(format!(
            "model {name}: shards = {}: {fewest} to the number of members are possible{}",
            model.shards(),
            if fewest == 3 {
                " (two models that take turns are dualmd)"
            } else {
                ""
            }
        ));
    }
    let untrained =
        model.defense == Ensemble || model.defense == Dualmd && model.teachers.is_none();
    if untrained && !model.train.is_empty() {
        problems.push(format!(
            "model {name}: train would change nothing, because {} is no training of its own{}",
            model.defense,
            if model.defense == Dualmd {
                ": give it teachers of its own (teachers = \"NAME\"), who take this recipe"
            } else {
                ""
            }
        ));
    }
    if let Some(own) = &model.teachers {
        problems.extend(name_problem(own).map(|p| format!("model {name}, teachers: {p}")));
        let mut others = experiment.models.iter().filter_map(|m| m.teachers.as_ref());
        if let Some(twin) = others.find(|t| *t != own && t.eq_ignore_ascii_case(own)) {
            problems.push(format!(
                "model {name}: teachers {own} and {twin} differ in case only: their folders could be the same"
            ));
        }
    }
    match model.recipe(experiment) {
        Ok(Some(own)) => {
            check_training(&own, &format!("model {name}: train"), problems);
            if own.dtype != experiment.train.dtype {
                problems.push(format!(
                    "model {name}: train.dtype is the same for all models; set it in [train]"
                ));
            }
            if own.objective != experiment.train.objective {
                problems.push(format!(
                    "model {name}: train.objective is the same for all models; set it in [train], and make another experiment for the \
                     other objective (dualmd compare shows both)"
                ));
            }
        }
        Ok(None) => {}
        Err(error) => problems.push(format!("{error:#}").trim_end().replace('\n', " ")),
    }
    let own = model.recipe(experiment).ok().flatten();
    let train = own.as_ref().unwrap_or(&experiment.train);
    let eval_every = train.eval_every;
    let turns = model.rounds().saturating_mul(model.shards() as u64);
    if model.defense == Iet && train.steps < turns {
        problems.push(format!(
            "model {name}: {} rounds of {} shards are {turns} turns, and there are {} steps: choose fewer rounds or shards, or more steps",
            model.rounds(),
            model.shards(),
            train.steps
        ));
    }
    if model.defense == Ambient && train.objective == Objective::Flow {
        problems.push(format!(
            "model {name}: ambient is for models that learn the noise; leave out train.objective = \"flow\""
        ));
    }
    if model.defense == Ambient && train.cutout_side > 0 {
        problems.push(format!(
            "model {name}: under a grey square ambient training would show the images' noise; leave out train.cutout_side"
        ));
    }
    if model.defense == Smp {
        for (key, given) in [
            ("accumulate", train.accumulate > 1),
            ("skip_easy", train.skip_easy > 0.0),
            ("drop_memorised", train.drop_memorised > 0.0),
        ] {
            if given {
                problems.push(format!(
                    "model {name}: the loss of smp and its attacker look at the whole batch at once; leave out train.{key}"
                ));
            }
        }
    }
    if model.defense == DpSgd && train.skip_easy > 0.0 {
        problems.push(format!(
            "model {name}: train.skip_easy chooses images by what the network remembers of them, which dp-sgd may not; leave it out"
        ));
    }
    if model.defense == EarlyStopping && eval_every == 0 {
        problems.push(format!(
            "model {name}: early-stopping chooses among measurements; set train.eval_every"
        ));
    }
}

/// What keeps a name from being a folder's name on any system, or from meaning one thing only.
fn name_problem(name: &str) -> Option<String> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if Part::resembles_teacher(name) {
        Some(format!(
            "model name {name} is taken by the teachers of dualmd and distillmd: choose another"
        ))
    } else if Part::resembles_shard(name) {
        Some(format!(
            "model name {name} could be that of a shard's model (k-way, ensemble): choose another"
        ))
    } else if BASE.eq_ignore_ascii_case(name) {
        Some(format!(
            "model name {name} is taken by what [pretrain] makes: choose another"
        ))
    } else if REFERENCE.eq_ignore_ascii_case(name) {
        Some(format!(
            "model name {name} is taken by the model that the attack of this name compares with: choose another"
        ))
    } else if name.is_empty()
        || name.len() > 64
        || !name.chars().all(safe)
        || name.starts_with(['.', '-'])
        || name.ends_with('.')
    {
        Some(format!(
            "model name {name:?} cannot be a folder: use 1 to 64 letters, digits, - _ . and begin with a letter or digit"
        ))
    } else {
        None
    }
}
