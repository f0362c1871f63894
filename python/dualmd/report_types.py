"""The types of report.json. Written by python/generate.py from docs/schema/report.schema.json: do not edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .reading import AttackReading, MeasurementReading, ModelReading, ModelVerdictReading, Record, VerdictReading

Advice = str


CompatRule = str


Finding = str


IntervalMethod = str


Released = str


View = str


Words = str | list[str] | Any


@dataclass(frozen=True, kw_only=True, repr=False)
class Agreement(Record):
    """Members found at 1 % FPR by several attacks at once.

    attacks: Attacks compared.
    by_all: Found by every attack.
    by_one: Found by at least one attack.
    by_two: Found by at least two.
    found_by_several: Who the members are that at least two attacks found, those that most found first.
    n_members: Members that all these attacks scored.
    n_nonmembers: Non-members scored.
    nonmembers_by_one: Non-members that at least one attack mistook for a member, and their number.
    """

    attacks: int
    by_all: int
    by_one: int
    by_two: int
    found_by_several: list[FoundMember] = field(default_factory=list)
    n_members: int
    n_nonmembers: int
    nonmembers_by_one: int


@dataclass(frozen=True, kw_only=True, repr=False)
class AttackParameters(Record):
    """What an attack was run with. Which of these there are depends on the attack; a variant (`+flip`, `@snr=1`)
    adds its own.

    backward_passes: Backward passes per sample, of attacks on gradients.
    bandwidth: Rule for the bandwidth of a kernel density.
    begins: Which model of a pair begins each round: `first` or `second`.
    betas: First and last beta of a linear schedule that is used in place of the model's own.
    captions: How the scores under several captions become one: `best` or `mean`.
    components: Most principal components that a density is taken in.
    crops: Sides of the crops, as shares of the image's.
    draws: Draws of noise per sample and timestep.
    encoder: Name of the features that images are compared by.
    error_at: Timestep at which SecMI compares.
    flip: True where the image and its mirror image are both asked about.
    gamma: Threshold of RMIA on the ratio of likelihood ratios.
    generated: Images that the model generated, which all samples are compared with.
    generations: Images that were generated for each sample, by its caption.
    guidance: Scale of classifier-free guidance.
    k: Length of SecMI's steps, in timesteps.
    learnt_on: What it learnt from, where that was not a part of the samples: `shadow model`.
    lowpass: The filter of residuals, of `+lowpass`.
    models: Runs that likelihoods were fitted over, the target among them.
    of_: The parameters of the attacks that it combines, by their names.
    offline_a: RMIA's a, by which the mean over runs that did not see an image stands for that over all.
    p: Exponent of the norm.
    population: Images in RMIA's population.
    published_recipe_from: Known samples from which on the published recipe of training is used.
    pullback: The mask of residuals, of `+pullback`.
    ratios: Signal-to-noise ratios of the timesteps.
    rediffuse: Those of the ReDiffuse whose difference is classified.
    reduced_captions: Reduced captions per sample.
    rounds: Rounds in which a pair generates.
    scale: What RMIA multiplies losses by: one over the spread of the statistic between runs that did not see an
        image.
    secmi: Those of the SecMI whose residual is classified.
    snr: Signal-to-noise ratio at which the model is asked, of `@snr=R`; the timesteps follow from the model's
        schedule.
    stride: Length of a DDIM step, in timesteps.
    t: Timestep at which the model is asked.
    t_sec: Timestep up to which SecMI's chain goes.
    timesteps: Timesteps at which the model is asked.
    """

    backward_passes: int | None = None
    bandwidth: str | None = None
    begins: str | None = None
    betas: tuple[float, float] | None = None
    captions: str | None = None
    components: int | None = None
    crops: list[float] | None = field(default_factory=list)
    draws: int | None = None
    encoder: str | None = None
    error_at: int | None = None
    flip: bool | None = None
    gamma: float | None = None
    generated: int | None = None
    generations: int | None = None
    guidance: float | None = None
    k: int | None = None
    learnt_on: str | None = None
    lowpass: LowPassParameters | None = None
    models: int | None = None
    of_: dict[str, AttackParameters] | None = field(default_factory=dict)
    offline_a: float | None = None
    p: int | None = None
    population: int | None = None
    published_recipe_from: int | None = None
    pullback: PullbackParameters | None = None
    ratios: list[float] | None = field(default_factory=list)
    rediffuse: AttackParameters | None = None
    reduced_captions: int | None = None
    rounds: int | None = None
    scale: float | None = None
    secmi: AttackParameters | None = None
    snr: float | None = None
    stride: int | None = None
    t: int | None = None
    t_sec: int | None = None
    timesteps: list[int] | None = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class AttackResult(AttackReading):
    """One attack on one model.

    access: `white-box`, `grey-box`, `black-box` or `unknown`.
    attack: Name as in the score file.
    auc: Probability that a random member scores above a random non-member (ties count half).
    auc_ci: 95 % interval of the AUC.
    auc_ci_adjusted: The interval corrected for the number of attacks (and halves) compared on this model
        (Bonferroni).
    auc_ci_method: How that interval was computed. One of `delong-newcombe`, `newcombe`.
    balanced_accuracy: Largest (TPR + 1 - FPR) / 2 over all thresholds, chosen on these very scores.
    compat: What public codes would have printed, if the plan asks for it.
    d1: Members of D1 alone against all non-members.
    d2: Members of D2 alone against all non-members.
    epsilon: Lower bound on epsilon, for the members of the model's primary view.
    exceedance_p: Chance of finding that many members at the lowest measurable FPR if membership meant nothing
        (exact, one-sided).
    finding: What follows after correction. One of `leak`, `inverted`, `set`, `copies`, `chance`, `unknown`,
        `void`.
    formula: See `paper`.
    halves_differ: True when the intervals of D1 and D2 do not overlap: pooling hides a difference.
    misses: See `paper`.
    n_members: Members scored.
    n_nonmembers: Non-members scored.
    network_calls_per_sample: Calls of the network per sample.
    own: What it says of images that the model generated itself: a control.
    paper: Where it comes from, what the score is and what it is blind to, as the attack stage describes it.
    parameters: Settings of the attack.
    reason: Why it failed.
    samples_scored: Samples with a score, members and non-members together.
    seconds: Wall time, s.
    shadow: Samples of a shadow model from which it learnt; all audited ones have a score.
    status: `ok` or `failed`.
    title: Name for people.
    tpr_at_fpr: True-positive rates at fixed false-positive rates.
    trained_on: Samples that it learnt from and that have no score.
    """

    access: str = ""
    attack: str = ""
    auc: float | None = None
    auc_ci: tuple[float, float] | None = None
    auc_ci_adjusted: tuple[float, float] = (0.0, 0.0)
    auc_ci_method: IntervalMethod = "delong-newcombe"
    balanced_accuracy: float = 0.0
    compat: list[CompatResult] = field(default_factory=list)
    d1: Measurement | None = None
    d2: Measurement | None = None
    epsilon: EpsilonBound | None = None
    exceedance_p: float | None = None
    finding: Finding = "unknown"
    formula: str | None = None
    halves_differ: bool = False
    misses: str | None = None
    n_members: int = 0
    n_nonmembers: int = 0
    network_calls_per_sample: float | None = None
    own: OwnImages | None = None
    paper: str | None = None
    parameters: AttackParameters | None = None
    reason: str | None = None
    samples_scored: int = 0
    seconds: float | None = None
    shadow: TrainedOn | None = None
    status: str = ""
    title: str = ""
    tpr_at_fpr: list[OperatingPoint] = field(default_factory=list)
    trained_on: TrainedOn | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class AucInterval(Record):
    """An AUC and where the true one lies.

    auc: Mann-Whitney estimate, in [0, 1].
    confidence: Confidence of the interval, e.g. 0.95.
    high: Upper end.
    low: Lower end.
    method: How it was computed. One of `delong-newcombe`, `newcombe`.
    """

    auc: float
    confidence: float
    high: float
    low: float
    method: IntervalMethod


@dataclass(frozen=True, kw_only=True, repr=False)
class BlindBaseline(Record):
    """Outcome of the blind baseline.

    auc: Its AUC.
    auc_ci: 95 % interval.
    families: Families of features on their own.
    features: What it looked at.
    method: How.
    outcome: `passed`; `warning`: the sets differ, but little; `void`: they differ by so much (interval above
        0.55) that no attack on them means anything.
    p_value: Chance of being as telling or more when membership means nothing.
    why: What tells the sets apart, in words.
    """

    auc: float
    auc_ci: tuple[float, float]
    families: list[BlindFamily] = field(default_factory=list)
    features: Words | None = None
    method: Words | None = None
    outcome: str
    p_value: float | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class BlindFamily(Record):
    """The blind baseline on one family of features.

    auc: Its AUC.
    auc_ci: 95 % interval.
    name: `pixels`, `texture`, `jpeg`, `resize`, `file` or `all`.
    telling: Does it tell the sets apart, after correction for the number of families?
    """

    auc: float
    auc_ci: tuple[float, float]
    name: str
    telling: bool


@dataclass(frozen=True, kw_only=True, repr=False)
class ByGroup(Record):
    """An attack by the mean scores of whole groups (patients, artists, classes).

    attack: Name of the attack.
    auc: How often a random group of members ranks above a random one of non-members.
    auc_ci: 95 % interval, over groups.
    member_groups: Groups of members.
    nonmember_groups: Groups of non-members.
    title: For people.
    tpr_at_fpr: Groups of members found at fixed false-positive rates of groups.
    """

    attack: str
    auc: float
    auc_ci: tuple[float, float]
    member_groups: int
    nonmember_groups: int
    title: str
    tpr_at_fpr: list[OperatingPoint] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class Chosen(Record):
    """The attack that one half of the samples chose, measured on the other half.

    attack: Name of the attack.
    auc: AUC of the chosen attack on the report half, with its 95 % interval.
    calibration_auc: AUC of every attack on the calibration half. The chosen one's is too high by luck: never a
        result.
    chosen: Index of the attack with the largest AUC on the calibration half; the first of equals.
    compared: Attacks it was chosen from.
    epsilon: Lower bound on epsilon at the threshold carried over. No choice enters it.
    images_needed: The smallest of these k with a power of at least 80 % at 5 % false alarms; `null` if none.
    left_out: Attacks that share too few samples with these to be compared.
    power: For k images of one person: how often averaging their scores proves that they were used.
    title: Name for people.
    tpr_at_fpr: The most members of the report half that can be found at the target FPR, threshold set on that
        half.
    transferred: What the threshold set on the calibration half does on the report half.
    """

    attack: str
    auc: AucInterval
    calibration_auc: list[float] = field(default_factory=list)
    chosen: int
    compared: int
    epsilon: EpsilonBound | None = None
    images_needed: int | None = None
    left_out: list[str] = field(default_factory=list)
    power: list[PowerPoint] = field(default_factory=list)
    title: str
    tpr_at_fpr: OperatingPoint
    transferred: TransferredThreshold


@dataclass(frozen=True, kw_only=True, repr=False)
class Combined(Record):
    """A number over several trainings.

    between_ci: 95 % interval of the mean over seeds, mean +- t sd / sqrt(n) with n - 1 degrees of freedom. Not
        cut at the ends of the metric's range. `None` for one seed: one training says nothing about the next.
    between_sd: Standard deviation between seeds (divisor n - 1), the scatter of the evaluation included; `None`
        for one seed.
    mean: Mean of the metric over the seeds.
    n: Seeds.
    values: (model, value).
    within_se: Root mean square of the standard errors within the seeds, that of one typical seed; `None` when
        none were given.
    """

    between_ci: tuple[float, float] | None = None
    between_sd: float | None = None
    mean: float
    n: int
    values: list[tuple[Any, Any]] = field(default_factory=list)
    within_se: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Record):
    """The same attack on two models, on the same samples.

    attack: Name of the attack.
    baseline: The undefended model, or the first of models of which no defence is known.
    difference: AUC of the baseline minus AUC of the model.
    difference_ci: 95 % interval (DeLong for paired curves).
    model: The model compared with it.
    p_value: Two-sided p-value of no difference.
    """

    attack: str
    baseline: str
    difference: float
    difference_ci: tuple[float, float]
    model: str
    p_value: float


@dataclass(frozen=True, kw_only=True, repr=False)
class CompatPoint(Record):
    """A TPR by the rule of a public code.

    realised_fpr: The FPR where it was taken, in the code's sense; may exceed the target.
    target_fpr: The FPR asked for.
    tpr: What the code calls TPR: for `clid` and `midm` the share of non-members recognised.
    """

    realised_fpr: float
    target_fpr: float
    tpr: float


@dataclass(frozen=True, kw_only=True, repr=False)
class CompatResult(Record):
    """One public code's numbers for one attack, or why it has none.

    reason: Why it would have failed.
    rule: Name of the rule.
    summary: What it would have printed.
    """

    reason: str | None = None
    rule: str
    summary: CompatSummary | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class CompatSummary(Record):
    """What a public code would have printed.

    asr: "Attack success rate" by the rule, picked on these scores; `None` when the code computes none.
    auc: AUC by the rule; `None` when the code computes none.
    definition: [`CompatRule::definition`].
    rule: The rule. One of `secmi`, `secmi-ldm`, `pia`, `pw`, `clid`, `copymark`, `wen`, `midm`, `jax-privacy`.
    tpr_at_fpr: One entry per target; empty when the code computes no TPR.
    """

    asr: float | None = None
    auc: float | None = None
    definition: str
    rule: CompatRule
    tpr_at_fpr: list[CompatPoint] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class Conclusion(Record):
    """What was found of one model, with the evidence for it.

    attack: The strongest attack.
    half: The half. One of `pooled`, `d1`, `d2`.
    members: The members it is about. One of `pooled`, `d1`, `d2`.
    tests: Names of the tests that tell them apart.
    features: What they were found by.
    """

    kind: str
    attack: str | None = None
    half: View | None = None
    members: View | None = None
    tests: list[str] = field(default_factory=list)
    features: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Controls(Record):
    """Checks of the audit itself.

    blind_baseline: A classifier that never saw the model.
    null: The strongest attack with labels drawn anew.
    """

    blind_baseline: BlindBaseline | None = None
    null: NullControl | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Copies(Record):
    """How near generated images come to training images (RMSE per pixel on [0, 1]).

    equal: The comparison at equal numbers of members and held-out images; the medians above compare sets of
        different sizes.
    heldout_median: Median of the same.
    heldout_q05: 5 % quantile of the distance from held-out images to their nearest member.
    median_distance_heldout: Median distance to the nearest held-out image.
    median_distance_members: Median distance to the nearest member.
    n_generated: Generated images compared.
    """

    equal: NearestEqual | None = None
    heldout_median: float | None = None
    heldout_q05: float | None = None
    median_distance_heldout: float | None = None
    median_distance_members: float | None = None
    n_generated: int | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class CopiesControl(Record):
    """Copies of members and of as many held-out images.

    drawn: Generated images that were looked at on either side; all of them where it is not said.
    false_copy_rate: Share of real images that pass for copies of the other side.
    heldout: What passes for copies of images that no model saw.
    members: Copies of members.
    n: Real images on either side.
    """

    drawn: int | None = None
    false_copy_rate: float = 0.0
    heldout: CopiesFound = field(default_factory=lambda: CopiesFound())
    members: CopiesFound = field(default_factory=lambda: CopiesFound())
    n: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class CopiesFound(Record):
    """Generated images that pass a threshold.

    copies: How many.
    distinct: How many different images they are most similar to.
    share_ci: 95 % interval of their share of all generated images (Clopper-Pearson).
    threshold: What had to be passed.
    """

    copies: int = 0
    distinct: int = 0
    share_ci: tuple[float, float] = (0.0, 0.0)
    threshold: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class CopyPair(Record):
    """A generated image and the member it is most similar to.

    generated: Number of the generated image, from 0: that of its PNG in `samples/NAME`.
    likeness: How alike they are.
    member_id: Content id of the member.
    """

    generated: int = 0
    likeness: float = 0.0
    member_id: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Copying(Record):
    """Generated images that pass for copies of training images, by one likeness.

    control: The same at equal numbers, for members and for images that cannot have been copied.
    false_copy_rate: Share of unseen images that pass for copies of members.
    features: Name of the features.
    found: Copies of all members.
    likeness: `cosine` (higher is more alike) or `rmse` (lower is).
    n_generated: Generated images.
    n_heldout: Held-out images.
    n_members: Members.
    own_prompt: Of a text-to-image model: mean likeness of what a caption draws to the image it belongs to.
    pairs: The generated images most similar to a member, most similar first.
    """

    control: CopiesControl = field(default_factory=lambda: CopiesControl())
    false_copy_rate: float = 0.0
    features: str = ""
    found: CopiesFound = field(default_factory=lambda: CopiesFound())
    likeness: str = ""
    n_generated: int = 0
    n_heldout: int = 0
    n_members: int = 0
    own_prompt: OwnPrompt | None = None
    pairs: list[CopyPair] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class EpsilonBound(Record):
    """Lower bound on epsilon from one attack at one threshold (Clopper-Pearson,
    [`dualmd_stats::clopper_pearson_epsilon`]). The threshold was set for `target_fpr` false alarms on the
    calibration half; the counts are from the other half.

    ceiling: What a perfect attack on as many images would have shown.
    confidence: 0.95, for this attack alone.
    delta: The delta it is for.
    fp: Non-members of the other half called members, and their number.
    lower: The training is not (epsilon, delta)-private for any smaller epsilon, if the images are independent
        trials; 0 when the attack proves nothing.
    n_members: See `tp`.
    n_nonmembers: See `fp`.
    target_fpr: False-alarm rate asked for on the calibration half.
    tp: Members of the other half called members, and their number.
    """

    ceiling: float
    confidence: float
    delta: float
    fp: int
    lower: float
    n_members: int
    n_nonmembers: int
    target_fpr: float
    tp: int


@dataclass(frozen=True, kw_only=True, repr=False)
class Found(Record):
    """Members, or groups, found at a rate of false alarms.

    by_guessing: What guessing finds on average at that rate.
    found: Found.
    fpr: Share of the non-members that may be called members.
    total: Of as many.
    """

    by_guessing: float
    found: int
    fpr: float
    total: int


@dataclass(frozen=True, kw_only=True, repr=False)
class FoundMember(Record):
    """A member that several attacks found.

    attacks: The attacks that found it.
    id: Id of the image.
    name: Its name where it came from.
    """

    attacks: list[str] = field(default_factory=list)
    id: str
    name: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Guarantee(Record):
    """The guarantee of a differentially private training, as its accountants computed it. Absent fields stay `None`.

    accountant: `RDP`.
    adjacency: What neighbouring sets of images are.
    delta: The delta that it holds at.
    epsilon: Upper bound on epsilon.
    noise_multiplier: Standard deviation of the noise over the clipping norm.
    prv: The same epsilon by the PRV accountant. Not claimed, but proven as well.
    sampling_rate: Probability of an image to be in a batch.
    """

    accountant: str | None = None
    adjacency: str | None = None
    delta: float | None = None
    epsilon: float | None = None
    noise_multiplier: float | None = None
    prv: Prv | None = None
    sampling_rate: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class ImageUtility(Record):
    """Generated images against real ones that no model saw; larger distances are worse.

    at_equal_n: Generated against real images at equal numbers.
    equal_n: Images a side of the comparison at equal numbers.
    excess: Generated against real less the floor, at equal numbers.
    features: Name of the features: a distance is FID only with `inception-2048`.
    floor: Real against real images at equal numbers: what a perfect model would score.
    frechet: Frechet distance.
    frechet_all: As public codes print it: Frechet distance to all training images of the data set, members and
        others; of Inception features only.
    frechet_ci: Its 95 % interval at these numbers of images.
    gap: Frechet distance to members less that to as many non-members; below 0: nearer to members.
    inception_score: Inception score in one split.
    inception_score_ten: The same of the Inception score: the mean of ten splits.
    kid: Unbiased kernel distance.
    kid_se: Its standard error.
    missing: What could not be measured.
    n_generated: Generated images.
    n_real: Real images.
    precision: Share of generated images that look like real ones.
    recall: Share of real images that the model could have drawn.
    """

    at_equal_n: float | None = None
    equal_n: int | None = None
    excess: float | None = None
    features: str = ""
    floor: float | None = None
    frechet: float | None = None
    frechet_all: float | None = None
    frechet_ci: tuple[float, float] | None = None
    gap: float | None = None
    inception_score: float | None = None
    inception_score_ten: float | None = None
    kid: float | None = None
    kid_se: float | None = None
    missing: list[str] = field(default_factory=list)
    n_generated: int = 0
    n_real: int = 0
    precision: float | None = None
    recall: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Inference(Record):
    """How many images prove use to someone who has as many that certainly were not used: the plan of CDI (Dubinski
    et al. 2025), by a permutation test. The same test on all images is `dataset-inference` among the tests.

    alpha: Level of the test.
    features: Names of the attacks whose scores, as ranks, are an image's features.
    images_needed: The first of these k for which that share is 0.8 or more; null if there is none.
    power: Share of sets of k members, against k non-members, that are shown to have been used.
    refused: Why it was not made: a difference of the sets that is no training would pass for use.
    relabellings: Relabellings of each set that was drawn.
    """

    alpha: float = 0.0
    features: list[str] = field(default_factory=list)
    images_needed: int | None = None
    power: list[PowerPoint] = field(default_factory=list)
    refused: str | None = None
    relabellings: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class LowPassParameters(Record):
    """The filter of `+lowpass`.

    half_width_at_32: Half the width of the square of frequencies that stay, of images of 32 x 32.
    remains: What the other frequencies are multiplied by.
    """

    half_width_at_32: float
    remains: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Measurement(MeasurementReading):
    """Statistics of one set of scores.

    auc: Probability that a random member scores above a random non-member (ties count half).
    auc_ci: 95 % interval of the AUC.
    auc_ci_adjusted: The interval corrected for the number of attacks (and halves) compared on this model
        (Bonferroni).
    auc_ci_method: How that interval was computed. One of `delong-newcombe`, `newcombe`.
    balanced_accuracy: Largest (TPR + 1 - FPR) / 2 over all thresholds, chosen on these very scores.
    exceedance_p: Chance of finding that many members at the lowest measurable FPR if membership meant nothing
        (exact, one-sided).
    finding: What follows after correction. One of `leak`, `inverted`, `set`, `copies`, `chance`, `unknown`,
        `void`.
    n_members: Members scored.
    n_nonmembers: Non-members scored.
    tpr_at_fpr: True-positive rates at fixed false-positive rates.
    """

    auc: float
    auc_ci: tuple[float, float]
    auc_ci_adjusted: tuple[float, float] = (0.0, 0.0)
    auc_ci_method: IntervalMethod = "delong-newcombe"
    balanced_accuracy: float = 0.0
    exceedance_p: float | None = None
    finding: Finding = "unknown"
    n_members: int = 0
    n_nonmembers: int = 0
    tpr_at_fpr: list[OperatingPoint] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelReport(ModelReading):
    """One model with everything measured on it.

    agreement: Members found by several attacks at once.
    audit: Of a comparison: the name of the audit that the model is from. Not written elsewhere.
    by_groups: The same attacks by whole groups, where the images have any.
    chosen: The best attack, chosen on one half of the samples and measured on the other.
    copies: Copies: distances of generated images to training images.
    copying: Generated images that pass for copies of training images, counted for each likeness.
    defense: Defence as the plan names it.
    dtype: Number format of the network during the attacks.
    image_utility: What its images are worth, by features of a network that knows nothing of it.
    name: Folder name.
    network_calls_made: Calls of the network that the attacks made together.
    network_calls_saved: Calls that sharing between attacks saved.
    one_run: The audit of one training by coin flips (Steinke et al. 2023), where membership was drawn so.
    one_run_missing: Why there is no such audit.
    primary: The members that this model was trained on: a teacher's own half, otherwise all. One of `pooled`,
        `d1`, `d2`.
    repeat_of: The model whose recipe was trained again here with another seed.
    results: One entry per attack, failed ones included.
    same_images: Attacks that scored a part of the samples, against the strongest of the others on the same
        samples.
    sets: Tests of whole sets of images.
    title: Name for people, e.g. `DistillMD student`.
    utility: Losses and cost; `null` where nothing was recorded.
    warnings: Warnings of the attack stage about this model.
    weights: `ema` or `raw`.
    weights_blake3: BLAKE3 hash of the attacked weights, as the plan records it.
    """

    agreement: Agreement | None = None
    audit: str | None = None
    by_groups: list[ByGroup] = field(default_factory=list)
    chosen: Chosen | None = None
    copies: Copies | None = None
    copying: list[Copying] = field(default_factory=list)
    defense: str = ""
    dtype: str | None = None
    image_utility: ImageUtility | None = None
    name: str = ""
    network_calls_made: int | None = None
    network_calls_saved: int | None = None
    one_run: OneRun | None = None
    one_run_missing: str | None = None
    primary: View = "pooled"
    repeat_of: str | None = None
    results: list[AttackResult] = field(default_factory=list)
    same_images: list[SameImages] = field(default_factory=list)
    sets: Sets | None = None
    title: str = ""
    utility: Training | None = None
    warnings: list[str] = field(default_factory=list)
    weights: str | None = None
    weights_blake3: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelVerdict(ModelVerdictReading):
    """The verdict on one model.

    advice: What to do with the model, by the rules of the guide; empty where it has no line in `releases`.
    conclusion: The same with the evidence; reports of earlier versions have none.
    finding: The worst that was found. One of `leak`, `inverted`, `set`, `copies`, `chance`, `unknown`, `void`.
    model: Name of the model.
    text: Sentences.
    """

    advice: str = ""
    conclusion: Conclusion = field(default_factory=lambda: Conclusion.of({"kind": "unknown"}))
    finding: Finding
    model: str
    text: str


@dataclass(frozen=True, kw_only=True, repr=False)
class NearestEqual(Record):
    """Generated images against as many members as held-out images (`dualmd_stats::nearer`).

    draws: Seeded draws of `n` images from the larger side.
    generated: Generated images compared.
    median_members: Median distance to the nearest of `n` members, mean over the draws.
    median_others: The same to the nearest of `n` held-out images.
    n: Real images on either side.
    p_value: Of a permutation test: chance of as large a share or larger if membership means nothing.
    relabellings: Relabellings of that test.
    share: Share of the generated images that are nearer to a member; 0.5 is chance.
    share_ci: Its 95 % interval.
    """

    draws: int
    generated: int
    median_members: float
    median_others: float
    n: int
    p_value: float
    relabellings: int
    share: float
    share_ci: tuple[float, float]


@dataclass(frozen=True, kw_only=True, repr=False)
class NullControl(Record):
    """The strongest attack's scores with membership labels permuted.

    attack: Attack whose scores were used.
    auc: Mean AUC over the permutations.
    auc_ci: Central 95 % of the permutations.
    expected_ci: 95 % range that theory gives for these sample sizes.
    model: Model whose scores were used.
    p_value: Share of permutations at least as far from 0.5 as the observed AUC (with the observation counted in).
    passed: True when 0.5 lies in the interval and the mean is where theory puts it.
    redraws: Permutations.
    seed: Seed of the permutations.
    """

    attack: str
    auc: float
    auc_ci: tuple[float, float]
    expected_ci: tuple[float, float]
    model: str
    p_value: float
    passed: bool
    redraws: int
    seed: int


@dataclass(frozen=True, kw_only=True, repr=False)
class OneRun(Record):
    """The audit of one training by coin flips. Attack and numbers of guesses are fixed on one half of the samples,
    drawn without regard to their membership. The other half are the canaries; of a group of near-duplicates,
    which share one coin, one image.

    attack: Name of the attack.
    canaries: Images whose membership was a coin flip and that chose nothing.
    ceiling: What it would be had all these guesses been right.
    compared: Attacks it was chosen from.
    confidence: 0.95.
    correct: Guesses that were right.
    delta: The delta it is for.
    guess_in: Canaries guessed "in": those with the highest scores.
    guess_out: Canaries guessed "out": those with the lowest.
    lower: Lower bound on epsilon at 95 % confidence.
    title: Name for people.
    """

    attack: str
    canaries: int
    ceiling: float
    compared: int
    confidence: float
    correct: int
    delta: float
    guess_in: int
    guess_out: int
    lower: float
    title: str


@dataclass(frozen=True, kw_only=True, repr=False)
class OperatingPoint(Record):
    """The most members that can be found without exceeding a false-positive rate.

    fp: Non-members called members.
    fpr: The FPR asked for.
    fpr_ci: Exact 95 % interval of the FPR at this threshold. The threshold is an order statistic of the non-
        members: the upper end is exact in spite of the choice, the lower end conservative.
    measurable: Whether `fpr * n_nonmembers >= 1`. Below that no single false positive is allowed, and the FPR
        cannot be told from 0.
    n_members: Members in all.
    n_nonmembers: Non-members in all.
    realised_fpr: The FPR at the threshold: the largest reachable one not above `fpr`.
    threshold: Samples with `score >= threshold` are called members. When no sample may be called, the smallest
        number above all scores; null in files where that is infinite.
    tp: Members found.
    tpr: True-positive rate `tp / n_members`.
    tpr_ci: Exact (Clopper-Pearson) 95 % interval of the TPR at this threshold. The threshold depends on the non-
        members only, so the binomial model of `tp` holds although the threshold was picked from these data.
    tpr_ci_bootstrap: Stratified bootstrap 95 % interval of the TPR with the threshold estimated anew in each
        replicate: wider than `tpr_ci`, because it answers for the FPR asked for and not for the threshold found.
        Filled in by [`crate::summarise`].
    """

    fp: int = 0
    fpr: float = 0.0
    fpr_ci: tuple[float, float] = (0.0, 0.0)
    measurable: bool = False
    n_members: int = 0
    n_nonmembers: int = 0
    realised_fpr: float = 0.0
    threshold: float | None = 0.0
    tp: int = 0
    tpr: float = 0.0
    tpr_ci: tuple[float, float] = (0.0, 0.0)
    tpr_ci_bootstrap: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class OwnImages(Record):
    """How an attack ranks images that the model generated itself against the non-members.

    auc: Probability that one of them scores above a random non-member (ties count half).
    auc_ci: 95 % interval of that.
    counted_at_fpr: Those that count as members (`tp` of `n_members`) at fixed rates of false alarms among the
        non-members.
    n: Generated images that were scored.
    """

    auc: float
    auc_ci: tuple[float, float]
    counted_at_fpr: list[OperatingPoint] = field(default_factory=list)
    n: int


@dataclass(frozen=True, kw_only=True, repr=False)
class OwnPrompt(Record):
    """Mean likeness of generated images to the images that their captions belong to.

    heldout: For captions that it did not.
    members: For captions that the model learnt.
    """

    heldout: float = 0.0
    members: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class Pictured(Record):
    """An entry of a list with the picture that it names.

    attack: Attack that found the member, or `mean rank` over all of them.
    id: Content id of the member.
    model: Model under attack.
    name: Its name where it came from.
    png: Thumbnail, relative to the run folder.
    rank: 1 = the most exposed.
    score: Its score.
    """

    attack: str = ""
    id: str = ""
    model: str = ""
    name: str | None = None
    png: str = ""
    rank: int = 0
    score: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class PowerPoint(Record):
    """How often k images prove that their owner's pictures were used.

    ci: 95 % interval of the power over the draw of the members, for the non-members at hand.
    false_alarm: The same share for sets of k non-members that the test has not seen; `alpha` at most, on average.
    false_alarm_ci: 95 % interval of the false-alarm rate, likewise.
    k: Images of one person.
    power: Share of sets of k members that the test calls used.
    """

    ci: tuple[float, float]
    false_alarm: float
    false_alarm_ci: tuple[float, float]
    k: int
    power: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Prv(Record):
    """Epsilon by the PRV accountant (Gopi, Lee & Wutschitz 2021), at the delta of the guarantee.

    estimate: What it spends, without proof.
    lower: Proven: the mechanism spends at least this.
    upper: Proven: it spends no more than this.
    """

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True, repr=False)
class PullbackParameters(Record):
    """The mask of `+pullback`.

    draws: Draws through the decoder, per sample.
    left_out: Share of a latent's numbers that is left out.
    """

    draws: int
    left_out: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Release(Record):
    """What one thing that could be given out of a model gives away.

    advice: What to do. One of `withhold`, `if-no-secret`, `measure-again`, `not-tested`, `nothing-found`.
    attacks: Attacks that whoever holds it can run and that gave a result; 0 where it was not tested.
    because: The number that decided.
    found: The members that it finds, beside what guessing finds; null where it was not tested, or too few non-
        members were scored to say.
    found_groups: The same of whole groups (patients, artists), where there are clearly fewer of them than images.
    model: Name of the model.
    strongest: The strongest of them; null where it was not tested.
    what: What would be given out. One of `images`, `queries`, `weights`.
    """

    advice: Advice
    attacks: int
    because: str
    found: Found | None = None
    found_groups: Found | None = None
    model: str
    strongest: Strongest | None = None
    what: Released


@dataclass(frozen=True, kw_only=True, repr=False)
class Repeated(Record):
    """A recipe with more than one training.

    attacks: One entry per attack that at least two of them have.
    base: Name of the first model, which the others repeat.
    models: Names of all its trainings that were attacked, the first one included.
    """

    attacks: list[RepeatedAttack] = field(default_factory=list)
    base: str
    models: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class RepeatedAttack(Record):
    """One attack over the trainings of a recipe.

    attack: Name of the attack.
    auc: AUC.
    title: Name for people.
    tpr_at_1_percent: TPR at 1 % false alarms; `null` where some training cannot resolve it.
    """

    attack: str
    auc: Combined
    title: str
    tpr_at_1_percent: Combined | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Report(Record):
    """Everything a report says. Built by [`crate::build`], written by [`crate::write`].

    comparisons: Each model against the undefended one (of models trained elsewhere: the first), on the same
        samples.
    controls: Checks of the audit itself.
    exposed: Most exposed members.
    images_left_out: Were pictures, texts, and names and scores of single images left out, as `--no-images` asks?
        Not written where they were not.
    missing: Files that were not there and what the report cannot say for lack of them.
    models: One entry per audited model.
    repeated: Recipes that were trained several times with different seeds.
    run: `plan.json` as the run wrote it: seeds, hashes, versions, hardware, command.
    schema: Version of `report.json`; fields may be added without changing it.
    verdict: The verdict in words.
    warnings: What a reader must know before trusting a number.
    """

    comparisons: list[Comparison] = field(default_factory=list)
    controls: Controls = field(default_factory=lambda: Controls())
    exposed: list[Pictured] = field(default_factory=list)
    images_left_out: bool | None = None
    missing: list[str] = field(default_factory=list)
    models: list[ModelReport] = field(default_factory=list)
    repeated: list[Repeated] = field(default_factory=list)
    run: Any = None
    schema: int
    verdict: Verdict = field(default_factory=lambda: Verdict())
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class SameImages(Record):
    """An attack that scored a part of the samples, and the strongest attack that scored more, both on the samples
    that both scored.

    attack: Name of the attack.
    auc: AUC of the attack on these.
    difference: `auc` minus `other_auc`.
    difference_ci: 95 % interval (DeLong for paired curves).
    n_members: Members that both scored.
    n_nonmembers: Non-members that both scored.
    other: Name of the other.
    other_auc: AUC of the other on these.
    p_value: Two-sided p-value of no difference.
    """

    attack: str
    auc: float
    difference: float
    difference_ci: tuple[float, float]
    n_members: int
    n_nonmembers: int
    other: str
    other_auc: float
    p_value: float


@dataclass(frozen=True, kw_only=True, repr=False)
class SetTest(Record):
    """One permutation test of two sets.

    members: Members used.
    name: Short name, such as `mmd-error-space`.
    nonmembers: Non-members used.
    p_value: Share of permutations at least as extreme, the observation counted in: in (0, 1].
    permutations: Permutations drawn.
    statistic: The test's statistic, larger = further apart.
    title: Name for people; `name` where it is empty.
    what: What was compared with what.
    """

    members: int
    name: str
    nonmembers: int
    p_value: float
    permutations: int
    statistic: float
    title: str = ""
    what: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Sets(Record):
    """Tests of whole sets of images on one model.

    features: What was compared.
    inference: How many images prove use to someone who has as many that were not used.
    tests: The tests.
    """

    features: Words | None = None
    inference: Inference | None = None
    tests: list[SetTest] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class Strongest(Record):
    """The strongest attack of a kind.

    attack: Name of the attack.
    auc: AUC.
    auc_ci: Its interval, corrected for the number of attacks on the model.
    members: The members it is about. One of `pooled`, `d1`, `d2`.
    model: The model attacked: of a pair's weights perhaps one of its teachers.
    title: For people.
    """

    attack: str
    auc: float
    auc_ci: tuple[float, float]
    members: View
    model: str
    title: str


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainedOn(Record):
    """The samples that an attack learnt from.

    members: Members.
    nonmembers: Non-members.
    """

    members: int
    nonmembers: int


@dataclass(frozen=True, kw_only=True, repr=False)
class Training(Record):
    """Losses and cost of one training. What its file does not say is null, and shown as not recorded.

    batch: Images per step.
    dtype: `f32`, `tf32` or `bf16`.
    epochs: Passes over the images that it was trained on. Where a training of an earlier version does not say:
        steps times batch by images.
    heldout_loss: The same on non-members.
    images: Images it was trained on.
    images_per_second: Training speed.
    learning_rate: Peak learning rate.
    member_loss: The same on all members without dropout or augmentation.
    parameters: Trainable parameters.
    peak_rss_mb: Peak resident memory, MB.
    privacy: What DP-SGD guarantees; `None` for trainings that promise nothing.
    ranks: Processes that trained it together; null where it was one.
    seconds: Wall time, s.
    seed: Seed of this model's training.
    split_hash: Hash of the split it was trained with.
    steps: Optimiser steps.
    teachers: Names of the teachers, if it was distilled.
    threads: Threads used, of each rank.
    train_loss: Mean squared error of the noise prediction at the end, on training batches.
    """

    batch: int | None = None
    dtype: str | None = None
    epochs: float | None = None
    heldout_loss: float | None = None
    images: int | None = None
    images_per_second: float | None = None
    learning_rate: float | None = None
    member_loss: float | None = None
    parameters: int | None = None
    peak_rss_mb: float | None = None
    privacy: Guarantee | None = None
    ranks: int | None = None
    seconds: float | None = None
    seed: int | None = None
    split_hash: str | None = None
    steps: int | None = None
    teachers: list[str] = field(default_factory=list)
    threads: int | None = None
    train_loss: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class TransferredThreshold(Record):
    """A threshold fixed on the calibration half and applied to the report half, as an attacker has to. The attack
    was chosen where its calibration non-members happen to score low, so the threshold tends to be too low as
    well: of 30 useless attacks the chosen one reached a mean FPR of 0.122 at a target of 0.1 (64 calibration non-
    members), one fixed in advance 0.095. Hence the FPR is part of the result.

    calibration_fpr: The FPR reached there, not above the target.
    fp: Non-members of the report half called members.
    fpr: False-positive rate on the report half; nothing keeps it below the target.
    fpr_ci: Exact 95 % interval of the FPR.
    n_members: Members in the report half.
    n_nonmembers: Non-members in the report half.
    target_fpr: The FPR asked for on the calibration half.
    threshold: Samples with `score >= threshold` are called members.
    tp: Members of the report half found.
    tpr: True-positive rate on the report half.
    tpr_ci: Exact (Clopper-Pearson) 95 % interval of the TPR.
    """

    calibration_fpr: float
    fp: int
    fpr: float
    fpr_ci: tuple[float, float]
    n_members: int
    n_nonmembers: int
    target_fpr: float
    threshold: float | None
    tp: int
    tpr: float
    tpr_ci: tuple[float, float]


@dataclass(frozen=True, kw_only=True, repr=False)
class Verdict(VerdictReading):
    """What the numbers allow to be said.

    false_alarms: How often a report like this one would find something by luck alone.
    models: One paragraph per model.
    not_tested: Threats that were not tested, and limits of the tests that were.
    releases: What each thing that could be given out gives away: three lines for every model that could be
        released.
    summary: One paragraph for every model that could be released.
    void: Set when no number of the audit can be trusted, with the reason. Then there is no verdict: `summary` is
        empty and all findings are `void`.
    """

    false_alarms: str = ""
    models: list[ModelVerdict] = field(default_factory=list)
    not_tested: list[str] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)
    void: str | None = None
