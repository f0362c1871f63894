"""The types of report.json. Written by python/generate.py from docs/schema/report.schema.json: do not edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .reading import AttackReading, ModelReading, Record

Advice = str


CompatRule = str


Conclusion = str


Finding = str


IntervalMethod = str


Released = str


View = str


@dataclass(frozen=True)
class Agreement(Record):
    """Members found at 1 % FPR by several attacks at once."""
    attacks: int | None = None
    """Attacks compared."""
    by_all: int | None = None
    """Found by every attack."""
    by_one: int | None = None
    """Found by at least one attack."""
    by_two: int | None = None
    """Found by at least two."""
    found_by_several: list[FoundMember] = field(default_factory=list)
    """Who the members are that at least two attacks found, those that most found first."""
    n_members: int | None = None
    """Members that all these attacks scored."""
    n_nonmembers: int | None = None
    """Non-members scored."""
    nonmembers_by_one: int | None = None
    """Non-members that at least one attack mistook for a member, and their number."""


@dataclass(frozen=True)
class AttackResult(AttackReading):
    """One attack on one model."""
    access: str | None = None
    """`white-box`, `grey-box`, `black-box` or `unknown`."""
    attack: str | None = None
    """Name as in the score file."""
    auc: float | None = None
    """Probability that a random member scores above a random non-member (ties count half)."""
    auc_ci: tuple[float, float] | None = None
    """95 % interval of the AUC."""
    auc_ci_adjusted: tuple[float, float] | None = None
    """The interval corrected for the number of attacks (and halves) compared on this model (Bonferroni)."""
    auc_ci_method: IntervalMethod | None = None
    """How that interval was computed."""
    balanced_accuracy: float | None = None
    """Largest (TPR + 1 - FPR) / 2 over all thresholds, chosen on these very scores."""
    compat: list[CompatResult] = field(default_factory=list)
    """What public codes would have printed, if the plan asks for it."""
    d1: Measurement | None = None
    """Members of D1 alone against all non-members."""
    d2: Measurement | None = None
    """Members of D2 alone against all non-members."""
    epsilon: EpsilonBound | None = None
    """Lower bound on epsilon, for the members of the model's primary view."""
    exceedance_p: float | None = None
    """Chance of finding that many members at the lowest measurable FPR if membership meant nothing (exact, one-
    sided)."""
    finding: Finding | None = None
    """What follows after correction."""
    formula: str | None = None
    """See `paper`."""
    halves_differ: bool | None = None
    """True when the intervals of D1 and D2 do not overlap: pooling hides a difference."""
    misses: str | None = None
    """See `paper`."""
    n_members: int | None = None
    """Members scored."""
    n_nonmembers: int | None = None
    """Non-members scored."""
    network_calls_per_sample: float | None = None
    """Calls of the network per sample."""
    own: OwnImages | None = None
    """What it says of images that the model generated itself: a control."""
    paper: str | None = None
    """Where it comes from, what the score is and what it is blind to, as the attack stage describes it."""
    parameters: Any = None
    """Settings of the attack."""
    reason: str | None = None
    """Why it failed."""
    samples_scored: int | None = None
    """Samples with a score, members and non-members together."""
    seconds: float | None = None
    """Wall time, s."""
    shadow: TrainedOn | None = None
    """Samples of a shadow model from which it learnt; all audited ones have a score."""
    status: str | None = None
    """`ok` or `failed`."""
    title: str | None = None
    """Name for people."""
    tpr_at_fpr: list[OperatingPoint] = field(default_factory=list)
    """True-positive rates at fixed false-positive rates."""
    trained_on: TrainedOn | None = None
    """Samples that it learnt from and that have no score."""


@dataclass(frozen=True)
class AucInterval(Record):
    """An AUC and where the true one lies."""
    auc: float | None = None
    """Mann-Whitney estimate, in [0, 1]."""
    confidence: float | None = None
    """Confidence of the interval, e.g. 0.95."""
    high: float | None = None
    """Upper end."""
    low: float | None = None
    """Lower end."""
    method: IntervalMethod | None = None
    """How it was computed."""


@dataclass(frozen=True)
class BlindBaseline(Record):
    """Outcome of the blind baseline."""
    auc: float | None = None
    """Its AUC."""
    auc_ci: tuple[float, float] | None = None
    """95 % interval."""
    families: list[BlindFamily] = field(default_factory=list)
    """Families of features on their own."""
    features: Any = None
    """What it looked at."""
    method: Any = None
    """How."""
    outcome: str | None = None
    """`passed`; `warning`: the sets differ, but little; `void`: they differ by so much (interval above 0.55) that no
    attack on them means anything."""
    p_value: float | None = None
    """Chance of being as telling or more when membership means nothing."""
    why: str | None = None
    """What tells the sets apart, in words."""


@dataclass(frozen=True)
class BlindFamily(Record):
    """The blind baseline on one family of features."""
    auc: float | None = None
    """Its AUC."""
    auc_ci: tuple[float, float] | None = None
    """95 % interval."""
    name: str | None = None
    """`pixels`, `texture`, `jpeg`, `resize`, `file` or `all`."""
    telling: bool | None = None
    """Does it tell the sets apart, after correction for the number of families?"""


@dataclass(frozen=True)
class ByGroup(Record):
    """An attack by the mean scores of whole groups (patients, artists, classes)."""
    attack: str | None = None
    """Name of the attack."""
    auc: float | None = None
    """How often a random group of members ranks above a random one of non-members."""
    auc_ci: tuple[float, float] | None = None
    """95 % interval, over groups."""
    member_groups: int | None = None
    """Groups of members."""
    nonmember_groups: int | None = None
    """Groups of non-members."""
    title: str | None = None
    """For people."""
    tpr_at_fpr: list[OperatingPoint] = field(default_factory=list)
    """Groups of members found at fixed false-positive rates of groups."""


@dataclass(frozen=True)
class Chosen(Record):
    """The attack that one half of the samples chose, measured on the other half."""
    attack: str | None = None
    """Name of the attack."""
    auc: AucInterval | None = None
    """AUC of the chosen attack on the report half, with its 95 % interval."""
    calibration_auc: list[float] = field(default_factory=list)
    """AUC of every attack on the calibration half. The chosen one's is too high by luck: never a result."""
    chosen: int | None = None
    """Index of the attack with the largest AUC on the calibration half; the first of equals."""
    compared: int | None = None
    """Attacks it was chosen from."""
    epsilon: EpsilonBound | None = None
    """Lower bound on epsilon at the threshold carried over. No choice enters it."""
    images_needed: int | None = None
    """The smallest of these k with a power of at least 80 % at 5 % false alarms; `null` if none."""
    left_out: list[str] = field(default_factory=list)
    """Attacks that share too few samples with these to be compared."""
    power: list[PowerPoint] = field(default_factory=list)
    """For k images of one person: how often averaging their scores proves that they were used."""
    title: str | None = None
    """Name for people."""
    tpr_at_fpr: OperatingPoint | None = None
    """The most members of the report half that can be found at the target FPR, threshold set on that half."""
    transferred: TransferredThreshold | None = None
    """What the threshold set on the calibration half does on the report half."""


@dataclass(frozen=True)
class Combined(Record):
    """A number over several trainings."""
    between_ci: tuple[float, float] | None = None
    """95 % interval of the mean over seeds, mean +- t sd / sqrt(n) with n - 1 degrees of freedom. Not cut at the
    ends of the metric's range. `None` for one seed: one training says nothing about the next."""
    between_sd: float | None = None
    """Standard deviation between seeds (divisor n - 1), the scatter of the evaluation included; `None` for one seed."""
    mean: float | None = None
    """Mean of the metric over the seeds."""
    n: int | None = None
    """Seeds."""
    values: list[tuple[Any, Any]] = field(default_factory=list)
    """(model, value)."""
    within_se: float | None = None
    """Root mean square of the standard errors within the seeds, that of one typical seed; `None` when none were
    given."""


@dataclass(frozen=True)
class Comparison(Record):
    """The same attack on two models, on the same samples."""
    attack: str | None = None
    """Name of the attack."""
    baseline: str | None = None
    """The undefended model, or the first of models of which no defence is known."""
    difference: float | None = None
    """AUC of the baseline minus AUC of the model."""
    difference_ci: tuple[float, float] | None = None
    """95 % interval (DeLong for paired curves)."""
    model: str | None = None
    """The model compared with it."""
    p_value: float | None = None
    """Two-sided p-value of no difference."""


@dataclass(frozen=True)
class CompatPoint(Record):
    """A TPR by the rule of a public code."""
    realised_fpr: float | None = None
    """The FPR where it was taken, in the code's sense; may exceed the target."""
    target_fpr: float | None = None
    """The FPR asked for."""
    tpr: float | None = None
    """What the code calls TPR: for `clid` and `midm` the share of non-members recognised."""


@dataclass(frozen=True)
class CompatResult(Record):
    """One public code's numbers for one attack, or why it has none."""
    reason: str | None = None
    """Why it would have failed."""
    rule: str | None = None
    """Name of the rule."""
    summary: CompatSummary | None = None
    """What it would have printed."""


@dataclass(frozen=True)
class CompatSummary(Record):
    """What a public code would have printed."""
    asr: float | None = None
    """"Attack success rate" by the rule, picked on these scores; `None` when the code computes none."""
    auc: float | None = None
    """AUC by the rule; `None` when the code computes none."""
    definition: str | None = None
    """[`CompatRule::definition`]."""
    rule: CompatRule | None = None
    """The rule."""
    tpr_at_fpr: list[CompatPoint] = field(default_factory=list)
    """One entry per target; empty when the code computes no TPR."""


@dataclass(frozen=True)
class Controls(Record):
    """Checks of the audit itself."""
    blind_baseline: BlindBaseline | None = None
    """A classifier that never saw the model."""
    null: NullControl | None = None
    """The strongest attack with labels drawn anew."""


@dataclass(frozen=True)
class Copies(Record):
    """How near generated images come to training images (RMSE per pixel on [0, 1])."""
    equal: NearestEqual | None = None
    """The comparison at equal numbers of members and held-out images; the medians above compare sets of different
    sizes."""
    heldout_median: float | None = None
    """Median of the same."""
    heldout_q05: float | None = None
    """5 % quantile of the distance from held-out images to their nearest member."""
    median_distance_heldout: float | None = None
    """Median distance to the nearest held-out image."""
    median_distance_members: float | None = None
    """Median distance to the nearest member."""
    n_generated: float | None = None
    """Generated images compared."""


@dataclass(frozen=True)
class CopiesControl(Record):
    """Copies of members and of as many held-out images."""
    drawn: int | None = None
    """Generated images that were looked at on either side; all of them where it is not said."""
    false_copy_rate: float | None = None
    """Share of real images that pass for copies of the other side."""
    heldout: CopiesFound | None = None
    """What passes for copies of images that no model saw."""
    members: CopiesFound | None = None
    """Copies of members."""
    n: int | None = None
    """Real images on either side."""


@dataclass(frozen=True)
class CopiesFound(Record):
    """Generated images that pass a threshold."""
    copies: int | None = None
    """How many."""
    distinct: int | None = None
    """How many different images they are most similar to."""
    share_ci: tuple[float, float] | None = None
    """95 % interval of their share of all generated images (Clopper-Pearson)."""
    threshold: float | None = None
    """What had to be passed."""


@dataclass(frozen=True)
class CopyPair(Record):
    """A generated image and the member it is most similar to."""
    generated: int | None = None
    """Number of the generated image, from 0: that of its PNG in `samples/NAME`."""
    likeness: float | None = None
    """How alike they are."""
    member_id: str | None = None
    """Content id of the member."""


@dataclass(frozen=True)
class Copying(Record):
    """Generated images that pass for copies of training images, by one likeness."""
    control: CopiesControl | None = None
    """The same at equal numbers, for members and for images that cannot have been copied."""
    false_copy_rate: float | None = None
    """Share of unseen images that pass for copies of members."""
    features: str | None = None
    """Name of the features."""
    found: CopiesFound | None = None
    """Copies of all members."""
    likeness: str | None = None
    """`cosine` (higher is more alike) or `rmse` (lower is)."""
    n_generated: int | None = None
    """Generated images."""
    n_heldout: int | None = None
    """Held-out images."""
    n_members: int | None = None
    """Members."""
    own_prompt: OwnPrompt | None = None
    """Of a text-to-image model: mean likeness of what a caption draws to the image it belongs to."""
    pairs: list[CopyPair] = field(default_factory=list)
    """The generated images most similar to a member, most similar first."""


@dataclass(frozen=True)
class EpsilonBound(Record):
    """Lower bound on epsilon from one attack at one threshold (Clopper-Pearson,
    [`dualmd_stats::clopper_pearson_epsilon`]). The threshold was set for `target_fpr` false alarms on the
    calibration half; the counts are from the other half."""
    ceiling: float | None = None
    """What a perfect attack on as many images would have shown."""
    confidence: float | None = None
    """0.95, for this attack alone."""
    delta: float | None = None
    """The delta it is for."""
    fp: int | None = None
    """Non-members of the other half called members, and their number."""
    lower: float | None = None
    """The training is not (epsilon, delta)-private for any smaller epsilon, if the images are independent trials; 0
    when the attack proves nothing."""
    n_members: int | None = None
    """See `tp`."""
    n_nonmembers: int | None = None
    """See `fp`."""
    target_fpr: float | None = None
    """False-alarm rate asked for on the calibration half."""
    tp: int | None = None
    """Members of the other half called members, and their number."""


@dataclass(frozen=True)
class Found(Record):
    """Members, or groups, found at a rate of false alarms."""
    by_guessing: float | None = None
    """What guessing finds on average at that rate."""
    found: int | None = None
    """Found."""
    fpr: float | None = None
    """Share of the non-members that may be called members."""
    total: int | None = None
    """Of as many."""


@dataclass(frozen=True)
class FoundMember(Record):
    """A member that several attacks found."""
    attacks: list[str] = field(default_factory=list)
    """The attacks that found it."""
    id: str | None = None
    """Id of the image."""
    name: str | None = None
    """Its name where it came from."""


@dataclass(frozen=True)
class Guarantee(Record):
    """The guarantee of a differentially private training, as its accountants computed it. Absent fields stay `None`."""
    accountant: str | None = None
    """`RDP`."""
    adjacency: str | None = None
    """What neighbouring sets of images are."""
    delta: float | None = None
    """The delta that it holds at."""
    epsilon: float | None = None
    """Upper bound on epsilon."""
    noise_multiplier: float | None = None
    """Standard deviation of the noise over the clipping norm."""
    prv: Prv | None = None
    """The same epsilon by the PRV accountant. Not claimed, but proven as well."""
    sampling_rate: float | None = None
    """Probability of an image to be in a batch."""


@dataclass(frozen=True)
class ImageUtility(Record):
    """Generated images against real ones that no model saw; larger distances are worse."""
    at_equal_n: float | None = None
    """Generated against real images at equal numbers."""
    equal_n: float | None = None
    """Images a side of the comparison at equal numbers."""
    excess: float | None = None
    """Generated against real less the floor, at equal numbers."""
    features: str | None = None
    """Name of the features: a distance is FID only with `inception-2048`."""
    floor: float | None = None
    """Real against real images at equal numbers: what a perfect model would score."""
    frechet: float | None = None
    """Frechet distance."""
    frechet_all: float | None = None
    """As public codes print it: Frechet distance to all training images of the data set, members and others; of
    Inception features only."""
    frechet_ci: tuple[float, float] | None = None
    """Its 95 % interval at these numbers of images."""
    gap: float | None = None
    """Frechet distance to members less that to as many non-members; below 0: nearer to members."""
    inception_score: float | None = None
    """Inception score in one split."""
    inception_score_ten: float | None = None
    """The same of the Inception score: the mean of ten splits."""
    kid: float | None = None
    """Unbiased kernel distance."""
    kid_se: float | None = None
    """Its standard error."""
    missing: list[str] = field(default_factory=list)
    """What could not be measured."""
    n_generated: float | None = None
    """Generated images."""
    n_real: float | None = None
    """Real images."""
    precision: float | None = None
    """Share of generated images that look like real ones."""
    recall: float | None = None
    """Share of real images that the model could have drawn."""


@dataclass(frozen=True)
class Inference(Record):
    """How many images prove use to someone who has as many that certainly were not used: the plan of CDI (Dubinski
    et al. 2025), by a permutation test. The same test on all images is `dataset-inference` among the tests."""
    alpha: float | None = None
    """Level of the test."""
    features: list[str] = field(default_factory=list)
    """Names of the attacks whose scores, as ranks, are an image's features."""
    images_needed: int | None = None
    """The first of these k for which that share is 0.8 or more; null if there is none."""
    power: list[PowerPoint] = field(default_factory=list)
    """Share of sets of k members, against k non-members, that are shown to have been used."""
    refused: str | None = None
    """Why it was not made: a difference of the sets that is no training would pass for use."""
    relabellings: int | None = None
    """Relabellings of each set that was drawn."""


@dataclass(frozen=True)
class Measurement(Record):
    """Statistics of one set of scores."""
    auc: float | None = None
    """Probability that a random member scores above a random non-member (ties count half)."""
    auc_ci: tuple[float, float] | None = None
    """95 % interval of the AUC."""
    auc_ci_adjusted: tuple[float, float] | None = None
    """The interval corrected for the number of attacks (and halves) compared on this model (Bonferroni)."""
    auc_ci_method: IntervalMethod | None = None
    """How that interval was computed."""
    balanced_accuracy: float | None = None
    """Largest (TPR + 1 - FPR) / 2 over all thresholds, chosen on these very scores."""
    exceedance_p: float | None = None
    """Chance of finding that many members at the lowest measurable FPR if membership meant nothing (exact, one-
    sided)."""
    finding: Finding | None = None
    """What follows after correction."""
    n_members: int | None = None
    """Members scored."""
    n_nonmembers: int | None = None
    """Non-members scored."""
    tpr_at_fpr: list[OperatingPoint] = field(default_factory=list)
    """True-positive rates at fixed false-positive rates."""


@dataclass(frozen=True)
class ModelReport(ModelReading):
    """One model with everything measured on it."""
    agreement: Agreement | None = None
    """Members found by several attacks at once."""
    by_groups: list[ByGroup] = field(default_factory=list)
    """The same attacks by whole groups, where the images have any."""
    chosen: Chosen | None = None
    """The best attack, chosen on one half of the samples and measured on the other."""
    copies: Copies | None = None
    """Copies: distances of generated images to training images."""
    copying: list[Copying] = field(default_factory=list)
    """Generated images that pass for copies of training images, counted for each likeness."""
    defense: str | None = None
    """Defence as the plan names it."""
    dtype: str | None = None
    """Number format of the network during the attacks."""
    image_utility: ImageUtility | None = None
    """What its images are worth, by features of a network that knows nothing of it."""
    name: str | None = None
    """Folder name."""
    network_calls_made: float | None = None
    """Calls of the network that the attacks made together."""
    network_calls_saved: float | None = None
    """Calls that sharing between attacks saved."""
    one_run: OneRun | None = None
    """The audit of one training by coin flips (Steinke et al. 2023), where membership was drawn so."""
    one_run_missing: str | None = None
    """Why there is no such audit."""
    primary: View | None = None
    """The members that this model was trained on: a teacher's own half, otherwise all."""
    repeat_of: str | None = None
    """The model whose recipe was trained again here with another seed."""
    results: list[AttackResult] = field(default_factory=list)
    """One entry per attack, failed ones included."""
    same_images: list[SameImages] = field(default_factory=list)
    """Attacks that scored a part of the samples, against the strongest of the others on the same samples."""
    sets: Sets | None = None
    """Tests of whole sets of images."""
    title: str | None = None
    """Name for people, e.g. `DistillMD student`."""
    utility: Training | None = None
    """Losses and cost; `null` where nothing was recorded."""
    warnings: list[str] = field(default_factory=list)
    """Warnings of the attack stage about this model."""
    weights: str | None = None
    """`ema` or `raw`."""
    weights_blake3: str | None = None
    """BLAKE3 hash of the attacked weights, as the plan records it."""


@dataclass(frozen=True)
class ModelVerdict(Record):
    """The verdict on one model."""
    advice: str | None = None
    """What to do with the model, by the rules of the guide; empty where it has no line in `releases`."""
    conclusion: Conclusion | None = None
    """The same with the evidence; reports of earlier versions have none."""
    finding: Finding | None = None
    """The worst that was found."""
    model: str | None = None
    """Name of the model."""
    text: str | None = None
    """Sentences."""


@dataclass(frozen=True)
class NearestEqual(Record):
    """Generated images against as many members as held-out images (`dualmd_stats::nearer`)."""
    draws: int | None = None
    """Seeded draws of `n` images from the larger side."""
    generated: int | None = None
    """Generated images compared."""
    median_members: float | None = None
    """Median distance to the nearest of `n` members, mean over the draws."""
    median_others: float | None = None
    """The same to the nearest of `n` held-out images."""
    n: int | None = None
    """Real images on either side."""
    p_value: float | None = None
    """Of a permutation test: chance of as large a share or larger if membership means nothing."""
    relabellings: int | None = None
    """Relabellings of that test."""
    share: float | None = None
    """Share of the generated images that are nearer to a member; 0.5 is chance."""
    share_ci: tuple[float, float] | None = None
    """Its 95 % interval."""


@dataclass(frozen=True)
class NullControl(Record):
    """The strongest attack's scores with membership labels permuted."""
    attack: str | None = None
    """Attack whose scores were used."""
    auc: float | None = None
    """Mean AUC over the permutations."""
    auc_ci: tuple[float, float] | None = None
    """Central 95 % of the permutations."""
    expected_ci: tuple[float, float] | None = None
    """95 % range that theory gives for these sample sizes."""
    model: str | None = None
    """Model whose scores were used."""
    p_value: float | None = None
    """Share of permutations at least as far from 0.5 as the observed AUC (with the observation counted in)."""
    passed: bool | None = None
    """True when 0.5 lies in the interval and the mean is where theory puts it."""
    redraws: int | None = None
    """Permutations."""
    seed: int | None = None
    """Seed of the permutations."""


@dataclass(frozen=True)
class OneRun(Record):
    """The audit of one training by coin flips. Attack and numbers of guesses are fixed on one half of the samples,
    drawn without regard to their membership. The other half are the canaries; of a group of near-duplicates,
    which share one coin, one image."""
    attack: str | None = None
    """Name of the attack."""
    canaries: int | None = None
    """Images whose membership was a coin flip and that chose nothing."""
    ceiling: float | None = None
    """What it would be had all these guesses been right."""
    compared: int | None = None
    """Attacks it was chosen from."""
    confidence: float | None = None
    """0.95."""
    correct: int | None = None
    """Guesses that were right."""
    delta: float | None = None
    """The delta it is for."""
    guess_in: int | None = None
    """Canaries guessed "in": those with the highest scores."""
    guess_out: int | None = None
    """Canaries guessed "out": those with the lowest."""
    lower: float | None = None
    """Lower bound on epsilon at 95 % confidence."""
    title: str | None = None
    """Name for people."""


@dataclass(frozen=True)
class OperatingPoint(Record):
    """The most members that can be found without exceeding a false-positive rate."""
    fp: int | None = None
    """Non-members called members."""
    fpr: float | None = None
    """The FPR asked for."""
    fpr_ci: tuple[float, float] | None = None
    """Exact 95 % interval of the FPR at this threshold. The threshold is an order statistic of the non-members: the
    upper end is exact in spite of the choice, the lower end conservative."""
    measurable: bool | None = None
    """Whether `fpr * n_nonmembers >= 1`. Below that no single false positive is allowed, and the FPR cannot be told
    from 0."""
    n_members: int | None = None
    """Members in all."""
    n_nonmembers: int | None = None
    """Non-members in all."""
    realised_fpr: float | None = None
    """The FPR at the threshold: the largest reachable one not above `fpr`."""
    threshold: float | None = None
    """Samples with `score >= threshold` are called members. When no sample may be called, the smallest number above
    all scores; null in files where that is infinite."""
    tp: int | None = None
    """Members found."""
    tpr: float | None = None
    """True-positive rate `tp / n_members`."""
    tpr_ci: tuple[float, float] | None = None
    """Exact (Clopper-Pearson) 95 % interval of the TPR at this threshold. The threshold depends on the non-members
    only, so the binomial model of `tp` holds although the threshold was picked from these data."""
    tpr_ci_bootstrap: tuple[float, float] | None = None
    """Stratified bootstrap 95 % interval of the TPR with the threshold estimated anew in each replicate: wider than
    `tpr_ci`, because it answers for the FPR asked for and not for the threshold found. Filled in by
    [`crate::summarise`]."""


@dataclass(frozen=True)
class OwnImages(Record):
    """How an attack ranks images that the model generated itself against the non-members."""
    auc: float | None = None
    """Probability that one of them scores above a random non-member (ties count half)."""
    auc_ci: tuple[float, float] | None = None
    """95 % interval of that."""
    counted_at_fpr: list[OperatingPoint] = field(default_factory=list)
    """Those that count as members (`tp` of `n_members`) at fixed rates of false alarms among the non-members."""
    n: int | None = None
    """Generated images that were scored."""


@dataclass(frozen=True)
class OwnPrompt(Record):
    """Mean likeness of generated images to the images that their captions belong to."""
    heldout: float | None = None
    """For captions that it did not."""
    members: float | None = None
    """For captions that the model learnt."""


@dataclass(frozen=True)
class Pictured(Record):
    """An entry of a list with the picture that it names."""
    attack: str | None = None
    """Attack that found the member, or `mean rank` over all of them."""
    id: str | None = None
    """Content id of the member."""
    model: str | None = None
    """Model under attack."""
    name: str | None = None
    """Its name where it came from."""
    png: str | None = None
    """Thumbnail, relative to the run folder."""
    rank: int | None = None
    """1 = the most exposed."""
    score: float | None = None
    """Its score."""


@dataclass(frozen=True)
class PowerPoint(Record):
    """How often k images prove that their owner's pictures were used."""
    ci: tuple[float, float] | None = None
    """95 % interval of the power over the draw of the members, for the non-members at hand."""
    false_alarm: float | None = None
    """The same share for sets of k non-members that the test has not seen; `alpha` at most, on average."""
    false_alarm_ci: tuple[float, float] | None = None
    """95 % interval of the false-alarm rate, likewise."""
    k: int | None = None
    """Images of one person."""
    power: float | None = None
    """Share of sets of k members that the test calls used."""


@dataclass(frozen=True)
class Prv(Record):
    """Epsilon by the PRV accountant (Gopi, Lee & Wutschitz 2021), at the delta of the guarantee."""
    estimate: float | None = None
    """What it spends, without proof."""
    lower: float | None = None
    """Proven: the mechanism spends at least this."""
    upper: float | None = None
    """Proven: it spends no more than this."""


@dataclass(frozen=True)
class Release(Record):
    """What one thing that could be given out of a model gives away."""
    advice: Advice | None = None
    """What to do."""
    attacks: int | None = None
    """Attacks that whoever holds it can run and that gave a result."""
    because: str | None = None
    """The number that decided."""
    found: Found | None = None
    """The members that it finds, beside what guessing finds; null where too few non-members were scored to say."""
    found_groups: Found | None = None
    """The same of whole groups (patients, artists), where there are clearly fewer of them than images."""
    model: str | None = None
    """Name of the model."""
    strongest: Strongest | None = None
    """The strongest of them."""
    what: Released | None = None
    """What would be given out."""


@dataclass(frozen=True)
class Repeated(Record):
    """A recipe with more than one training."""
    attacks: list[RepeatedAttack] = field(default_factory=list)
    """One entry per attack that at least two of them have."""
    base: str | None = None
    """Name of the first model, which the others repeat."""
    models: list[str] = field(default_factory=list)
    """Names of all its trainings that were attacked, the first one included."""


@dataclass(frozen=True)
class RepeatedAttack(Record):
    """One attack over the trainings of a recipe."""
    attack: str | None = None
    """Name of the attack."""
    auc: Combined | None = None
    """AUC."""
    title: str | None = None
    """Name for people."""
    tpr_at_1_percent: Combined | None = None
    """TPR at 1 % false alarms; `null` where some training cannot resolve it."""


@dataclass(frozen=True)
class Report(Record):
    """Everything a report says. Built by [`crate::build`], written by [`crate::write`]."""
    comparisons: list[Comparison] = field(default_factory=list)
    """Each model against the undefended one (of models trained elsewhere: the first), on the same samples."""
    controls: Controls | None = None
    """Checks of the audit itself."""
    exposed: list[Pictured] = field(default_factory=list)
    """Most exposed members."""
    missing: list[str] = field(default_factory=list)
    """Files that were not there and what the report cannot say for lack of them."""
    models: list[ModelReport] = field(default_factory=list)
    """One entry per audited model."""
    repeated: list[Repeated] = field(default_factory=list)
    """Recipes that were trained several times with different seeds."""
    run: Any = None
    """`plan.json` as the run wrote it: seeds, hashes, versions, hardware, command."""
    schema: int | None = None
    """Version of `report.json`; fields may be added without changing it."""
    verdict: Verdict | None = None
    """The verdict in words."""
    warnings: list[str] = field(default_factory=list)
    """What a reader must know before trusting a number."""


@dataclass(frozen=True)
class SameImages(Record):
    """An attack that scored a part of the samples, and the strongest attack that scored more, both on the samples
    that both scored."""
    attack: str | None = None
    """Name of the attack."""
    auc: float | None = None
    """AUC of the attack on these."""
    difference: float | None = None
    """`auc` minus `other_auc`."""
    difference_ci: tuple[float, float] | None = None
    """95 % interval (DeLong for paired curves)."""
    n_members: int | None = None
    """Members that both scored."""
    n_nonmembers: int | None = None
    """Non-members that both scored."""
    other: str | None = None
    """Name of the other."""
    other_auc: float | None = None
    """AUC of the other on these."""
    p_value: float | None = None
    """Two-sided p-value of no difference."""


@dataclass(frozen=True)
class SetTest(Record):
    """One permutation test of two sets."""
    members: int | None = None
    """Members used."""
    name: str | None = None
    """Short name, such as `mmd-error-space`."""
    nonmembers: int | None = None
    """Non-members used."""
    p_value: float | None = None
    """Share of permutations at least as extreme, the observation counted in: in (0, 1]."""
    permutations: int | None = None
    """Permutations drawn."""
    statistic: float | None = None
    """The test's statistic, larger = further apart."""
    title: str | None = None
    """Name for people; `name` where it is empty."""
    what: str | None = None
    """What was compared with what."""


@dataclass(frozen=True)
class Sets(Record):
    """Tests of whole sets of images on one model."""
    features: Any = None
    """What was compared."""
    inference: Inference | None = None
    """How many images prove use to someone who has as many that were not used."""
    tests: list[SetTest] = field(default_factory=list)
    """The tests."""


@dataclass(frozen=True)
class Strongest(Record):
    """The strongest attack of a kind."""
    attack: str | None = None
    """Name of the attack."""
    auc: float | None = None
    """AUC."""
    auc_ci: tuple[float, float] | None = None
    """Its interval, corrected for the number of attacks on the model."""
    members: View | None = None
    """The members it is about."""
    model: str | None = None
    """The model attacked: of a pair's weights perhaps one of its teachers."""
    title: str | None = None
    """For people."""


@dataclass(frozen=True)
class TrainedOn(Record):
    """The samples that an attack learnt from."""
    members: int | None = None
    """Members."""
    nonmembers: int | None = None
    """Non-members."""


@dataclass(frozen=True)
class Training(Record):
    """Losses and cost of one training. What its file does not say is null, and shown as not recorded."""
    batch: float | None = None
    """Images per step."""
    dtype: str | None = None
    """`f32` or `bf16`."""
    epochs: float | None = None
    """Passes over the images that it was trained on. Where a training of an earlier version does not say: steps
    times batch by images."""
    heldout_loss: float | None = None
    """The same on non-members."""
    images: float | None = None
    """Images it was trained on."""
    images_per_second: float | None = None
    """Training speed."""
    learning_rate: float | None = None
    """Peak learning rate."""
    member_loss: float | None = None
    """The same on all members without dropout or augmentation."""
    parameters: float | None = None
    """Trainable parameters."""
    peak_rss_mb: float | None = None
    """Peak resident memory, MB."""
    privacy: Guarantee | None = None
    """What DP-SGD guarantees; `None` for trainings that promise nothing."""
    ranks: float | None = None
    """Processes that trained it together; null where it was one."""
    seconds: float | None = None
    """Wall time, s."""
    seed: int | None = None
    """Seed of this model's training."""
    split_hash: str | None = None
    """Hash of the split it was trained with."""
    steps: float | None = None
    """Optimiser steps."""
    teachers: list[str] = field(default_factory=list)
    """Names of the teachers, if it was distilled."""
    threads: float | None = None
    """Threads used, of each rank."""
    train_loss: float | None = None
    """Mean squared error of the noise prediction at the end, on training batches."""


@dataclass(frozen=True)
class TransferredThreshold(Record):
    """A threshold fixed on the calibration half and applied to the report half, as an attacker has to. The attack
    was chosen where its calibration non-members happen to score low, so the threshold tends to be too low as
    well: of 30 useless attacks the chosen one reached a mean FPR of 0.122 at a target of 0.1 (64 calibration non-
    members), one fixed in advance 0.095. Hence the FPR is part of the result."""
    calibration_fpr: float | None = None
    """The FPR reached there, not above the target."""
    fp: int | None = None
    """Non-members of the report half called members."""
    fpr: float | None = None
    """False-positive rate on the report half; nothing keeps it below the target."""
    fpr_ci: tuple[float, float] | None = None
    """Exact 95 % interval of the FPR."""
    n_members: int | None = None
    """Members in the report half."""
    n_nonmembers: int | None = None
    """Non-members in the report half."""
    target_fpr: float | None = None
    """The FPR asked for on the calibration half."""
    threshold: float | None = None
    """Samples with `score >= threshold` are called members."""
    tp: int | None = None
    """Members of the report half found."""
    tpr: float | None = None
    """True-positive rate on the report half."""
    tpr_ci: tuple[float, float] | None = None
    """Exact (Clopper-Pearson) 95 % interval of the TPR."""


@dataclass(frozen=True)
class Verdict(Record):
    """What the numbers allow to be said."""
    false_alarms: str | None = None
    """How often a report like this one would find something by luck alone."""
    models: list[ModelVerdict] = field(default_factory=list)
    """One paragraph per model."""
    not_tested: list[str] = field(default_factory=list)
    """Threats that were not tested, and limits of the tests that were."""
    releases: list[Release] = field(default_factory=list)
    """What each thing that could be given out gives away: three lines for every model that could be released."""
    summary: list[str] = field(default_factory=list)
    """One paragraph for every model that could be released."""
    void: str | None = None
    """Set when no number below can be trusted, with the reason. Then there is no verdict: `summary` is empty and all
    findings are `void`."""
