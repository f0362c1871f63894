//! The report as data: what `report.json` holds (schema 1), for whoever writes it and whoever reads it, and what the page is drawn
//! from.
//!
//! Fields marked `skip` are pictures and curves for the page only. What an earlier version did not write has its default when a
//! report is read.

use std::borrow::Cow;

use dualmd_names::{Defense, ModelKind, Part};
use dualmd_record::exposed::Exposed;
use dualmd_record::number::if_known;
use dualmd_record::parameters::{AttackParameters, parameters_or_none};
use dualmd_record::samples::{Nearest, PromptedImage};
use dualmd_record::scores::TrainedOn;
use dualmd_record::sets::{Inference, SetTest};
use dualmd_record::utility::Copying;
use dualmd_record::{Count, Words, controls, samples, training};
use dualmd_stats::{IntervalMethod, OperatingPoint};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compat::CompatResult;
use crate::disk::Png;
use crate::files::{Pictured, ShownPair};

impl Report {
    /// What follows for a model; `Unknown` for a name that is not in the report.
    pub fn conclusion(&self, model: &str) -> &Conclusion {
        let mut models = self.verdict.models.iter();
        let found = models.find(|m| m.model == model);
        found.map_or(&Conclusion::Unknown, |m| &m.conclusion)
    }

    /// May no number be trusted?
    pub fn is_void(&self) -> bool {
        self.verdict.void.is_some()
    }
}

/// Everything a report says. Built by [`crate::build`], written by [`crate::write`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of `report.json`; fields may be added without changing it.
    pub schema: u32,
    /// `plan.json` as the run wrote it: seeds, hashes, versions, hardware, command.
    #[serde(default)]
    pub run: Value,
    /// The verdict in words.
    #[serde(default)]
    pub verdict: Verdict,
    /// One entry per audited model.
    pub models: Vec<ModelReport>,
    /// Each model against the undefended one (of models trained elsewhere: the first), on the same samples.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// Recipes that were trained several times with different seeds.
    #[serde(default)]
    pub repeated: Vec<Repeated>,
    /// Checks of the audit itself.
    #[serde(default)]
    pub controls: Controls,
    /// Files that were not there and what the report cannot say for lack of them.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What a reader must know before trusting a number.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Most exposed members.
    #[serde(default)]
    pub exposed: Vec<Pictured<Exposed>>,
    /// Were pictures, texts, and names and scores of single images left out, as `--no-images` asks? Not written where they were not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub images_left_out: bool,
}

impl Report {
    /// Does its page show images, or texts that images were drawn for? That of a void report does not.
    pub fn shows_images(&self) -> bool {
        let shown = |m: &ModelReport| {
            let p = &m.pictures;
            p.grid.is_some() || !p.pairs.is_empty() || !p.prompted.is_empty()
        };
        !self.is_void() && (!self.exposed.is_empty() || self.models.iter().any(shown))
    }
}

/// What the numbers allow to be said.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Verdict {
    /// Set when no number of the audit can be trusted, with the reason. Then there is no verdict: `summary` is empty and all findings are
    /// `void`.
    pub void: Option<String>,
    /// What each thing that could be given out gives away: three lines for every model that could be released.
    pub releases: Vec<Release>,
    /// One paragraph for every model that could be released.
    pub summary: Vec<String>,
    /// How often a report like this one would find something by luck alone.
    pub false_alarms: String,
    /// One paragraph per model.
    pub models: Vec<ModelVerdict>,
    /// Threats that were not tested, and limits of the tests that were.
    pub not_tested: Vec<String>,
}

/// The verdict on one model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ModelVerdict {
    /// Name of the model.
    pub model: String,
    /// The worst that was found.
    pub finding: Finding,
    /// The same with the evidence; reports of earlier versions have none.
    #[serde(default)]
    pub conclusion: Conclusion,
    /// What to do with the model, by the rules of the guide; empty where it has no line in `releases`.
    #[serde(default)]
    pub advice: String,
    /// Sentences.
    pub text: String,
}

/// What could be given out of a model, from the least to the most. Whoever holds more can do all that whoever holds less can.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Released {
    /// Images that the model generated.
    Images,
    /// A service that works on images people send, or starts at a chosen step.
    Queries,
    /// The weights.
    Weights,
}

/// What to do with one thing that could be given out, by the rules of the guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Advice {
    /// Single images are told apart, or the model generates copies.
    Withhold,
    /// Only the training images taken together are told from others.
    IfNoSecret,
    /// Nothing was found, with too few images to see a leak that matters.
    MeasureAgain,
    /// No attack of this kind gave a result.
    NotTested,
    /// Nothing was found, with enough images.
    NothingFound,
}

/// What one thing that could be given out of a model gives away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Name of the model.
    pub model: String,
    /// What would be given out.
    pub what: Released,
    /// Attacks that whoever holds it can run and that gave a result; 0 where it was not tested.
    pub attacks: usize,
    /// The strongest of them; null where it was not tested.
    pub strongest: Option<Strongest>,
    /// The members that it finds, beside what guessing finds; null where it was not tested, or too few non-members were scored to say.
    pub found: Option<Found>,
    /// The same of whole groups (patients, artists), where there are clearly fewer of them than images.
    pub found_groups: Option<Found>,
    /// What to do.
    pub advice: Advice,
    /// The number that decided.
    pub because: String,
}

/// The strongest attack of a kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Strongest {
    /// The model attacked: of a pair's weights perhaps one of its teachers.
    pub model: String,
    /// Name of the attack.
    pub attack: String,
    /// For people.
    pub title: String,
    /// The members it is about.
    pub members: View,
    /// AUC.
    pub auc: f64,
    /// Its interval, corrected for the number of attacks on the model.
    pub auc_ci: [f64; 2],
}

/// Members, or groups, found at a rate of false alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// Found.
    pub found: usize,
    /// Of as many.
    pub total: usize,
    /// Share of the non-members that may be called members.
    pub fpr: f64,
    /// What guessing finds on average at that rate.
    pub by_guessing: f64,
}

/// What a test of one set of scores found, after correction for the number of attacks tried.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// Members score higher than non-members.
    Leak,
    /// Members score *lower* than non-members: information too, for whoever turns the score round.
    Inverted,
    /// Of a model: single images are not told apart, members and non-members as a whole are.
    Set,
    /// Of a model: what it draws holds more copies of members than chance allows, and nothing else was seen.
    Copies,
    /// Nothing beyond chance was seen.
    Chance,
    /// No attack gave scores, or so few images were attacked that no leak could have been seen.
    #[default]
    Unknown,
    /// The report is void.
    Void,
}

impl Finding {
    /// As `report.json` and `findings.csv` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Inverted => "inverted",
            Self::Set => "set",
            Self::Copies => "copies",
            Self::Chance => "chance",
            Self::Unknown => "unknown",
            Self::Void => "void",
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Inverted => "inverted",
            Self::Set => "only the set as a whole",
            Self::Copies => "copies",
            Self::Chance => "no leak seen",
            Self::Unknown => "unknown",
            Self::Void => "void",
        }
    }
}

/// Which members a measurement is about; the non-members are always all of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// All members.
    #[default]
    Pooled,
    /// Members of the first half, which teacher 1 was trained on.
    D1,
    /// Members of the second half, which teacher 2 was trained on.
    D2,
}

impl View {
    /// For people: `all members`, `D1`, `D2`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pooled => "all members",
            Self::D1 => "D1",
            Self::D2 => "D2",
        }
    }
}

/// Generated images against real ones that no model saw; larger distances are worse.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImageUtility {
    /// Name of the features: a distance is FID only with `inception-2048`.
    pub features: String,
    /// Generated images.
    pub n_generated: f64,
    /// Real images.
    pub n_real: f64,
    /// Frechet distance.
    pub frechet: Option<f64>,
    /// Its 95 % interval at these numbers of images.
    pub frechet_ci: Option<[f64; 2]>,
    /// Images a side of the comparison at equal numbers.
    pub equal_n: Option<f64>,
    /// Generated against real images at equal numbers.
    pub at_equal_n: Option<f64>,
    /// Real against real images at equal numbers: what a perfect model would score.
    pub floor: Option<f64>,
    /// Generated against real less the floor, at equal numbers.
    pub excess: Option<f64>,
    /// Unbiased kernel distance.
    pub kid: Option<f64>,
    /// Its standard error.
    pub kid_se: Option<f64>,
    /// Inception score in one split.
    pub inception_score: Option<f64>,
    /// As public codes print it: Frechet distance to all training images of the data set, members and others; of Inception features only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frechet_all: Option<f64>,
    /// The same of the Inception score: the mean of ten splits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inception_score_ten: Option<f64>,
    /// Share of generated images that look like real ones.
    pub precision: Option<f64>,
    /// Share of real images that the model could have drawn.
    pub recall: Option<f64>,
    /// Frechet distance to members less that to as many non-members; below 0: nearer to members.
    pub gap: Option<f64>,
    /// What could not be measured.
    pub missing: Vec<String>,
}

/// One model with everything measured on it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ModelReport {
    /// Folder name.
    pub name: String,
    /// Defence as the plan names it.
    #[schemars(with = "String")]
    pub defense: ModelKind,
    /// Name for people, e.g. `DistillMD student`.
    pub title: String,
    /// The model whose recipe was trained again here with another seed.
    pub repeat_of: Option<String>,
    /// Of a comparison: the name of the audit that the model is from. Not written elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// BLAKE3 hash of the attacked weights, as the plan records it.
    pub weights_blake3: Option<String>,
    /// What its images are worth, by features of a network that knows nothing of it.
    pub image_utility: Option<ImageUtility>,
    /// The members that this model was trained on: a teacher's own half, otherwise all.
    pub primary: View,
    /// One entry per attack, failed ones included.
    pub results: Vec<AttackResult>,
    /// Members found by several attacks at once.
    #[serde(deserialize_with = "if_known")]
    pub agreement: Option<Agreement>,
    /// The best attack, chosen on one half of the samples and measured on the other.
    #[serde(deserialize_with = "if_known")]
    pub chosen: Option<Chosen>,
    /// The same attacks by whole groups, where the images have any.
    pub by_groups: Vec<ByGroup>,
    /// Attacks that scored a part of the samples, against the strongest of the others on the same samples.
    pub same_images: Vec<SameImages>,
    /// The audit of one training by coin flips (Steinke et al. 2023), where membership was drawn so.
    #[serde(deserialize_with = "if_known")]
    pub one_run: Option<OneRun>,
    /// Why there is no such audit.
    pub one_run_missing: Option<String>,
    /// Tests of whole sets of images.
    pub sets: Option<Sets>,
    /// Losses and cost; `null` where nothing was recorded.
    pub utility: Option<Training>,
    /// `ema` or `raw`.
    pub weights: Option<String>,
    /// Number format of the network during the attacks.
    pub dtype: Option<String>,
    /// Calls of the network that the attacks made together.
    pub network_calls_made: Option<f64>,
    /// Calls that sharing between attacks saved.
    pub network_calls_saved: Option<f64>,
    /// Warnings of the attack stage about this model.
    pub warnings: Vec<String>,
    /// Copies: distances of generated images to training images.
    pub copies: Option<Copies>,
    /// Generated images that pass for copies of training images, counted for each likeness.
    pub copying: Vec<Copying>,
    /// Pictures of the page.
    #[serde(skip)]
    pub pictures: Pictures,
    /// (step, member loss, held-out loss) during training.
    #[serde(skip)]
    pub curve: Vec<CurvePoint>,
}

impl ModelReport {
    /// The model itself, or the one that it repeats.
    pub fn base(&self) -> &str {
        self.repeat_of.as_deref().unwrap_or(&self.name)
    }

    /// A model trained on one half of the members.
    pub fn is_teacher(&self) -> bool {
        Part::half(self.base()).is_some()
    }

    /// Two teachers that take turns: no network of its own.
    pub fn is_pair(&self) -> bool {
        self.defense.is(Defense::Dualmd) && !self.is_teacher()
    }
}

/// Tests of whole sets of images on one model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Sets {
    /// What was compared.
    pub features: Option<Words>,
    /// The tests.
    pub tests: Vec<SetTest>,
    /// How many images prove use to someone who has as many that were not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference: Option<Inference>,
}

/// An attack that scored a part of the samples, and the strongest attack that scored more, both on the samples that both
/// scored.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SameImages {
    /// Name of the attack.
    pub attack: String,
    /// Name of the other.
    pub other: String,
    /// Members that both scored.
    pub n_members: usize,
    /// Non-members that both scored.
    pub n_nonmembers: usize,
    /// AUC of the attack on these.
    pub auc: f64,
    /// AUC of the other on these.
    pub other_auc: f64,
    /// `auc` minus `other_auc`.
    pub difference: f64,
    /// 95 % interval (DeLong for paired curves).
    pub difference_ci: [f64; 2],
    /// Two-sided p-value of no difference.
    pub p_value: f64,
}

/// Pictures of one model.
#[derive(Debug, Clone, Default)]
pub struct Pictures {
    /// Samples from the noise that all models share.
    pub grid: Option<Png>,
    /// Generated images with their nearest training images.
    pub nearest: Option<Nearest>,
    /// Its pairs with their pictures.
    pub pairs: Vec<ShownPair>,
    /// Generated images with the texts they were drawn for, a few of members and a few never seen.
    pub prompted: Vec<Pictured<PromptedImage>>,
}

/// How near generated images come to training images (RMSE per pixel on [0, 1]).
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Copies {
    /// Generated images compared.
    pub n_generated: Option<f64>,
    /// Median distance to the nearest member.
    pub median_distance_members: Option<f64>,
    /// Median distance to the nearest held-out image.
    pub median_distance_heldout: Option<f64>,
    /// 5 % quantile of the distance from held-out images to their nearest member.
    pub heldout_q05: Option<f64>,
    /// Median of the same.
    pub heldout_median: Option<f64>,
    /// The comparison at equal numbers of members and held-out images; the medians above compare sets of different sizes.
    pub equal: Option<NearestEqual>,
}

/// Losses and cost of one training. What its file does not say is null, and shown as not recorded.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Training {
    /// Optimiser steps.
    pub steps: Option<f64>,
    /// Passes over the images that it was trained on. Where a training of an earlier version does not say: steps times batch by images.
    pub epochs: Option<f64>,
    /// Images per step.
    pub batch: Option<f64>,
    /// Peak learning rate.
    pub learning_rate: Option<f64>,
    /// Seed of this model's training.
    pub seed: Option<u64>,
    /// Hash of the split it was trained with.
    pub split_hash: Option<String>,
    /// Trainable parameters.
    pub parameters: Option<f64>,
    /// Images it was trained on.
    pub images: Option<f64>,
    /// Mean squared error of the noise prediction at the end, on training batches.
    pub train_loss: Option<f64>,
    /// The same on all members without dropout or augmentation.
    pub member_loss: Option<f64>,
    /// The same on non-members.
    pub heldout_loss: Option<f64>,
    /// Wall time, s.
    pub seconds: Option<f64>,
    /// Training speed.
    pub images_per_second: Option<f64>,
    /// Threads used, of each rank.
    pub threads: Option<f64>,
    /// Processes that trained it together; null where it was one.
    pub ranks: Option<f64>,
    /// `f32`, `tf32` or `bf16`.
    pub dtype: Option<String>,
    /// Peak resident memory, MB.
    pub peak_rss_mb: Option<f64>,
    /// Names of the teachers, if it was distilled.
    pub teachers: Vec<String>,
    /// What DP-SGD guarantees; `None` for trainings that promise nothing.
    pub privacy: Option<Guarantee>,
}

impl Training {
    /// What a report says of a training. Where its file does not say how many passes it made, they follow from steps, batch and
    /// images.
    pub(crate) fn of(file: &training::Training) -> Self {
        let number = |count: Option<Count>| count.map(Count::as_f64);
        let mut training = Self {
            steps: number(file.steps),
            epochs: file.epochs,
            batch: number(file.batch),
            learning_rate: file.learning_rate,
            seed: file.seed,
            split_hash: file.split_hash.clone(),
            parameters: number(file.parameters),
            images: number(file.images),
            train_loss: file.train_loss,
            member_loss: file.member_loss,
            heldout_loss: file.heldout_loss,
            seconds: file.seconds,
            images_per_second: file.images_per_second,
            threads: number(file.threads),
            ranks: number(file.ranks),
            dtype: file.dtype.clone(),
            peak_rss_mb: file.peak_rss_mb,
            teachers: file.teachers.clone(),
            privacy: file.privacy.as_ref().map(Guarantee::of),
        };
        training.epochs = training.passes();
        training
    }
}

/// The guarantee of a differentially private training, as its accountants computed it. Absent fields stay `None`.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Guarantee {
    /// Upper bound on epsilon.
    pub epsilon: Option<f64>,
    /// The delta that it holds at.
    pub delta: Option<f64>,
    /// Standard deviation of the noise over the clipping norm.
    pub noise_multiplier: Option<f64>,
    /// Probability of an image to be in a batch.
    pub sampling_rate: Option<f64>,
    /// `RDP`.
    pub accountant: Option<String>,
    /// The same epsilon by the PRV accountant. Not claimed, but proven as well.
    pub prv: Option<training::Prv>,
    /// What neighbouring sets of images are.
    pub adjacency: Option<String>,
}

impl Guarantee {
    fn of(file: &training::Guarantee) -> Self {
        Self {
            epsilon: file.epsilon,
            delta: file.delta,
            noise_multiplier: file.noise_multiplier,
            sampling_rate: file.sampling_rate,
            accountant: file.accountant.clone(),
            prv: file.prv,
            adjacency: file.adjacency.clone(),
        }
    }
}

/// Generated images against as many members as held-out images (`dualmd_stats::nearer`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NearestEqual {
    /// Real images on either side.
    pub n: usize,
    /// Generated images compared.
    pub generated: usize,
    /// Seeded draws of `n` images from the larger side.
    pub draws: usize,
    /// Median distance to the nearest of `n` members, mean over the draws.
    pub median_members: f64,
    /// The same to the nearest of `n` held-out images.
    pub median_others: f64,
    /// Share of the generated images that are nearer to a member; 0.5 is chance.
    pub share: f64,
    /// Its 95 % interval.
    pub share_ci: [f64; 2],
    /// Of a permutation test: chance of as large a share or larger if membership means nothing.
    pub p_value: f64,
    /// Relabellings of that test.
    pub relabellings: usize,
}

impl NearestEqual {
    pub(crate) fn of(file: &samples::NearestEqual) -> Self {
        Self {
            n: file.n,
            generated: file.generated,
            draws: file.draws,
            median_members: file.median_members,
            median_others: file.median_others,
            share: file.share,
            share_ci: file.share_ci,
            p_value: file.p_value,
            relabellings: file.relabellings,
        }
    }
}

/// One point of the training curves.
#[derive(Debug, Clone, Copy)]
pub struct CurvePoint {
    /// Optimiser step.
    pub step: f64,
    /// Loss on members.
    pub member: f64,
    /// Loss on held-out images.
    pub heldout: f64,
}

/// One attack on one model.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AttackResult {
    /// Name as in the score file.
    pub attack: String,
    /// Name for people.
    pub title: String,
    /// `white-box`, `grey-box`, `black-box` or `unknown`.
    pub access: String,
    /// Calls of the network per sample.
    pub network_calls_per_sample: Option<f64>,
    /// Wall time, s.
    pub seconds: Option<f64>,
    /// `ok` or `failed`.
    pub status: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// Settings of the attack.
    #[serde(deserialize_with = "parameters_or_none")]
    pub parameters: Option<AttackParameters>,
    /// Where it comes from, what the score is and what it is blind to, as the attack stage describes it.
    pub paper: Option<String>,
    /// See `paper`.
    pub formula: Option<String>,
    /// See `paper`.
    pub misses: Option<String>,
    /// Samples with a score, members and non-members together.
    pub samples_scored: usize,
    /// Samples that it learnt from and that have no score.
    pub trained_on: Option<TrainedOn>,
    /// Samples of a shadow model from which it learnt; all audited ones have a score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<TrainedOn>,
    /// What it says of images that the model generated itself: a control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnImages>,
    /// Lower bound on epsilon, for the members of the model's primary view.
    pub epsilon: Option<EpsilonBound>,
    /// What public codes would have printed, if the plan asks for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compat: Vec<CompatResult>,
    /// All members against all non-members; its fields stand beside the ones above in `report.json`.
    #[serde(flatten)]
    pub pooled: Option<Measurement>,
    /// Members of D1 alone against all non-members.
    pub d1: Option<Measurement>,
    /// Members of D2 alone against all non-members.
    pub d2: Option<Measurement>,
    /// True when the intervals of D1 and D2 do not overlap: pooling hides a difference.
    pub halves_differ: bool,
    /// For the page.
    #[serde(skip)]
    pub figures: Option<Figures>,
}

impl AttackResult {
    /// An attack of which nothing is known but its name.
    pub(crate) fn named(attack: &str) -> Self {
        Self {
            attack: attack.to_owned(),
            title: attack.to_owned(),
            access: "unknown".into(),
            status: "ok".into(),
            ..Self::default()
        }
    }

    /// The measurement of one view.
    pub fn view(&self, view: View) -> Option<&Measurement> {
        match view {
            View::Pooled => self.pooled.as_ref(),
            View::D1 => self.d1.as_ref(),
            View::D2 => self.d2.as_ref(),
        }
    }
}

/// How an attack ranks images that the model generated itself against the non-members.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OwnImages {
    /// Generated images that were scored.
    pub n: usize,
    /// Probability that one of them scores above a random non-member (ties count half).
    pub auc: f64,
    /// 95 % interval of that.
    pub auc_ci: [f64; 2],
    /// Those that count as members (`tp` of `n_members`) at fixed rates of false alarms among the non-members.
    pub counted_at_fpr: Vec<OperatingPoint>,
}

/// Statistics of one set of scores.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// Members scored.
    #[serde(default)]
    pub n_members: usize,
    /// Non-members scored.
    #[serde(default)]
    pub n_nonmembers: usize,
    /// Probability that a random member scores above a random non-member (ties count half).
    pub auc: f64,
    /// 95 % interval of the AUC.
    pub auc_ci: [f64; 2],
    /// How that interval was computed.
    #[serde(default)]
    pub auc_ci_method: IntervalMethod,
    /// The interval corrected for the number of attacks (and halves) compared on this model (Bonferroni).
    #[serde(default)]
    pub auc_ci_adjusted: [f64; 2],
    /// True-positive rates at fixed false-positive rates.
    #[serde(default)]
    pub tpr_at_fpr: Vec<OperatingPoint>,
    /// Largest (TPR + 1 - FPR) / 2 over all thresholds, chosen on these very scores.
    #[serde(default)]
    pub balanced_accuracy: f64,
    /// Chance of finding that many members at the lowest measurable FPR if membership meant nothing (exact, one-sided).
    pub exceedance_p: Option<f64>,
    /// What follows after correction.
    #[serde(default)]
    pub finding: Finding,
}

/// Binned scores and the ROC curve of one attack, for the model's primary view.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Histogram of the scores.
    pub histogram: Histogram,
    /// (FPR, TPR) steps from (0, 0) to (1, 1).
    pub roc: Vec<[f64; 2]>,
    /// Pointwise 95 % band: (FPR, lowest TPR, highest TPR).
    pub band: Vec<[f64; 3]>,
}

/// Shares of members and non-members per bin; the outer bins hold everything beyond them.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Share of members per bin.
    pub members: Vec<f64>,
    /// Share of non-members per bin.
    pub nonmembers: Vec<f64>,
    /// True when the axis is logarithmic in the size of the score.
    pub log: bool,
}

/// Members found at 1 % FPR by several attacks at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Agreement {
    /// Attacks compared.
    pub attacks: usize,
    /// Members that all these attacks scored.
    pub n_members: usize,
    /// Found by at least one attack.
    pub by_one: usize,
    /// Found by at least two.
    pub by_two: usize,
    /// Found by every attack.
    pub by_all: usize,
    /// Non-members that at least one attack mistook for a member, and their number.
    pub nonmembers_by_one: usize,
    /// Non-members scored.
    pub n_nonmembers: usize,
    /// Who the members are that at least two attacks found, those that most found first.
    pub found_by_several: Vec<FoundMember>,
}

/// A member that several attacks found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FoundMember {
    /// Id of the image.
    pub id: String,
    /// Its name where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The attacks that found it.
    pub attacks: Vec<String>,
}

/// An attack by the mean scores of whole groups (patients, artists, classes).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ByGroup {
    /// Name of the attack.
    pub attack: String,
    /// For people.
    pub title: String,
    /// Groups of members.
    pub member_groups: usize,
    /// Groups of non-members.
    pub nonmember_groups: usize,
    /// How often a random group of members ranks above a random one of non-members.
    pub auc: f64,
    /// 95 % interval, over groups.
    pub auc_ci: [f64; 2],
    /// Groups of members found at fixed false-positive rates of groups.
    #[serde(default)]
    pub tpr_at_fpr: Vec<OperatingPoint>,
}

/// The same attack on two models, on the same samples.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Name of the attack.
    pub attack: String,
    /// The undefended model, or the first of models of which no defence is known.
    pub baseline: String,
    /// The model compared with it.
    pub model: String,
    /// AUC of the baseline minus AUC of the model.
    pub difference: f64,
    /// 95 % interval (DeLong for paired curves).
    pub difference_ci: [f64; 2],
    /// Two-sided p-value of no difference.
    pub p_value: f64,
}

/// Checks of the audit itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Controls {
    /// A classifier that never saw the model.
    pub blind_baseline: Option<BlindBaseline>,
    /// The strongest attack with labels drawn anew.
    pub null: Option<NullControl>,
}

/// Outcome of the blind baseline.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BlindBaseline {
    /// Its AUC.
    pub auc: f64,
    /// 95 % interval.
    pub auc_ci: [f64; 2],
    /// What it looked at.
    #[serde(default)]
    pub features: Option<Words>,
    /// How.
    #[serde(default)]
    pub method: Option<Words>,
    /// Chance of being as telling or more when membership means nothing.
    pub p_value: Option<f64>,
    /// Families of features on their own.
    #[serde(default)]
    pub families: Vec<BlindFamily>,
    /// What tells the sets apart, in words.
    #[serde(default)]
    pub why: String,
    /// `passed`; `warning`: the sets differ, but little; `void`: they differ by so much (interval above 0.55) that no attack on them
    /// means anything.
    pub outcome: Cow<'static, str>,
}

/// The blind baseline on one family of features.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BlindFamily {
    /// `pixels`, `texture`, `jpeg`, `resize`, `file` or `all`.
    pub name: String,
    /// Its AUC.
    pub auc: f64,
    /// 95 % interval.
    pub auc_ci: [f64; 2],
    /// Does it tell the sets apart, after correction for the number of families?
    pub telling: bool,
}

impl BlindFamily {
    pub(crate) fn of(file: controls::BlindFamily) -> Self {
        Self {
            name: file.name,
            auc: file.auc,
            auc_ci: file.auc_ci,
            telling: file.telling,
        }
    }
}

/// The strongest attack's scores with membership labels permuted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NullControl {
    /// Model whose scores were used.
    pub model: String,
    /// Attack whose scores were used.
    pub attack: String,
    /// Permutations.
    pub redraws: usize,
    /// Seed of the permutations.
    pub seed: u64,
    /// Mean AUC over the permutations.
    pub auc: f64,
    /// Central 95 % of the permutations.
    pub auc_ci: [f64; 2],
    /// 95 % range that theory gives for these sample sizes.
    pub expected_ci: [f64; 2],
    /// Share of permutations at least as far from 0.5 as the observed AUC (with the observation counted in).
    pub p_value: f64,
    /// True when 0.5 lies in the interval and the mean is where theory puts it.
    pub passed: bool,
}

/// What was found of one model, with the evidence for it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Conclusion {
    /// The report is void: nothing follows from its numbers.
    Void,
    /// No attack gave scores, or so few images were attacked that no leak could have been seen.
    #[default]
    Unknown,
    /// Single images are told apart.
    Images {
        /// The strongest attack.
        attack: String,
    },
    /// Single images of one half are told apart; over all members it does not show.
    OneHalf {
        /// The strongest attack on that half.
        attack: String,
        /// The half.
        half: View,
    },
    /// An attack ranks members below non-members.
    Inverted {
        /// The first such attack.
        attack: String,
        /// The members it is about.
        members: View,
    },
    /// Single images are not told apart, members and non-members as a whole are.
    WholeSet {
        /// Names of the tests that tell them apart.
        tests: Vec<String>,
    },
    /// No image is told apart, but more of what the model draws passes for copies of members than chance allows.
    Copies {
        /// What they were found by.
        features: String,
    },
    /// Nothing beyond chance was seen.
    Nothing,
}

/// The attack that one half of the samples chose, measured on the other half.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Chosen {
    /// Name of the attack.
    pub attack: String,
    /// Name for people.
    pub title: String,
    /// Attacks it was chosen from.
    pub compared: usize,
    /// Attacks that share too few samples with these to be compared.
    pub left_out: Vec<String>,
    /// Lower bound on epsilon at the threshold carried over. No choice enters it.
    pub epsilon: Option<EpsilonBound>,
    /// Choice, AUC on the other half, and the threshold carried over.
    #[serde(flatten)]
    pub selection: dualmd_stats::Selection,
    /// For k images of one person: how often averaging their scores proves that they were used.
    pub power: Vec<dualmd_stats::PowerPoint>,
    /// The smallest of these k with a power of at least 80 % at 5 % false alarms; `null` if none.
    pub images_needed: Option<usize>,
}

/// Lower bound on epsilon from one attack at one threshold (Clopper-Pearson, [`dualmd_stats::clopper_pearson_epsilon`]).
///
/// The threshold was set for `target_fpr` false alarms on the calibration half; the counts are from the other half.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EpsilonBound {
    /// The training is not (epsilon, delta)-private for any smaller epsilon, if the images are independent trials; 0 when
    /// the attack proves nothing.
    pub lower: f64,
    /// What a perfect attack on as many images would have shown.
    pub ceiling: f64,
    /// The delta it is for.
    pub delta: f64,
    /// 0.95, for this attack alone.
    pub confidence: f64,
    /// False-alarm rate asked for on the calibration half.
    pub target_fpr: f64,
    /// Members of the other half called members, and their number.
    pub tp: usize,
    /// See `tp`.
    pub n_members: usize,
    /// Non-members of the other half called members, and their number.
    pub fp: usize,
    /// See `fp`.
    pub n_nonmembers: usize,
}

/// The audit of one training by coin flips.
///
/// Attack and numbers of guesses are fixed on one half of the samples, drawn without regard to their membership. The
/// other half are the canaries; of a group of near-duplicates, which share one coin, one image.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OneRun {
    /// Name of the attack.
    pub attack: String,
    /// Name for people.
    pub title: String,
    /// Attacks it was chosen from.
    pub compared: usize,
    /// Images whose membership was a coin flip and that chose nothing.
    pub canaries: u64,
    /// Canaries guessed "in": those with the highest scores.
    pub guess_in: usize,
    /// Canaries guessed "out": those with the lowest.
    pub guess_out: usize,
    /// Guesses that were right.
    pub correct: u64,
    /// Lower bound on epsilon at 95 % confidence.
    pub lower: f64,
    /// What it would be had all these guesses been right.
    pub ceiling: f64,
    /// The delta it is for.
    pub delta: f64,
    /// 0.95.
    pub confidence: f64,
}

/// A recipe with more than one training.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Repeated {
    /// Name of the first model, which the others repeat.
    pub base: String,
    /// Names of all its trainings that were attacked, the first one included.
    pub models: Vec<String>,
    /// One entry per attack that at least two of them have.
    pub attacks: Vec<RepeatedAttack>,
}

/// One attack over the trainings of a recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RepeatedAttack {
    /// Name of the attack.
    pub attack: String,
    /// Name for people.
    pub title: String,
    /// AUC.
    pub auc: Combined,
    /// TPR at 1 % false alarms; `null` where some training cannot resolve it.
    pub tpr_at_1_percent: Option<Combined>,
}

/// A number over several trainings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Combined {
    /// (model, value).
    pub values: Vec<(String, f64)>,
    /// Mean over trainings with its interval between trainings, and the standard error within one of them.
    #[serde(flatten)]
    pub summary: dualmd_stats::SeedSummary,
}
