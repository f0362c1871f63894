"""The types of memorisation.json. Written by python/generate.py from docs/schema/memorisation.schema.json: do not edit."""

from __future__ import annotations

from dataclasses import dataclass, field

from .reading import Record

IntervalMethod = str


@dataclass(frozen=True, kw_only=True, repr=False)
class AttackSummary(Record):
    """Statistics of one attack on one model; serialises with the names of `report.json`.

    auc: Mann-Whitney AUC, ties counting 1/2; below 0.5 when the attack ranks the wrong way.
    auc_ci: 95 % interval, see [`crate::auc_interval`].
    auc_ci_method: How the interval was computed. One of `delong-newcombe`, `newcombe`.
    balanced_accuracy: Largest (TPR + 1 - FPR) / 2, chosen on these scores.
    n_members: Members scored.
    n_nonmembers: Non-members scored.
    tpr_at_fpr: One entry per false-positive rate asked for, in that order.
    """

    auc: float
    auc_ci: tuple[float, float]
    auc_ci_method: IntervalMethod
    balanced_accuracy: float
    n_members: int
    n_nonmembers: int
    tpr_at_fpr: list[OperatingPoint] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class Beyond(Record):
    """Memorised prompts that draw something more like their image than nearly all captions that no model saw.

    found: Memorised prompts above it.
    n: Memorised prompts.
    n_others: Others.
    others_above: Others above it.
    share: Their share.
    share_ci: Its exact 95 % interval.
    threshold: The similarity that at most 5 % of the others lie above.
    """

    found: int = 0
    n: int = 0
    n_others: int = 0
    others_above: int = 0
    share: float = 0.0
    share_ci: tuple[float, float] = (0.0, 0.0)
    threshold: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class Calibration(Record):
    """What a fit is worth, on pairs that nothing was learnt from or chosen by.

    auc: Chance that a text of its own fits an image better than a strange one, ties counting half.
    chosen_by: Images that said when to stop.
    found_first: Share of the images whose own text fits best of all texts; chance is one in so many.
    images: Images that the following is about.
    learnt: Images that were learnt from.
    other: Mean fit of an image and another's main text.
    own: Mean fit of an image and its own main text.
    steps: Updates.
    """

    auc: float
    chosen_by: int
    found_first: float
    images: int
    learnt: int
    other: float
    own: float
    steps: int


@dataclass(frozen=True, kw_only=True, repr=False)
class ClipScores(Record):
    """CLIP scores.

    memorised: Of those that are.
    model: The CLIP folder.
    others: Of the others.
    """

    memorised: Spread | None = None
    model: str = ""
    others: Spread | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class FitScores(Record):
    """How well images fit their prompts, or why that was not measured.

    by: The networks that the head joins.
    calibration: What the head is worth.
    memorised: Of those that are.
    others: Of the others.
    relative: The same between 0 (a strange text) and 1 (the own text of a real image).
    reason: Why.
    """

    by: str = ""
    calibration: Calibration | None = None
    memorised: Spread | None = None
    others: Spread | None = None
    relative: RelativeFits | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Fits(Record):
    """How well images fit their prompts.

    by: The networks that the head joins.
    calibration: What the head is worth.
    memorised: Of those that are.
    others: Of the others.
    relative: The same between 0 (a strange text) and 1 (the own text of a real image).
    """

    by: str = ""
    calibration: Calibration | None = None
    memorised: Spread | None = None
    others: Spread | None = None
    relative: RelativeFits


@dataclass(frozen=True, kw_only=True, repr=False)
class Histogram(Record):
    """Bars of equal width from the smallest to the largest value of both sides.

    edges: Edges, one more than bars.
    memorised: Of those that are.
    others: Of the others.
    """

    edges: list[float] = field(default_factory=list)
    memorised: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class Memorisation(Record):
    """What all prompts came to.

    alignment: Mean cosine between the prediction for pure noise without the prompt and what the prompt changes:
        large means memorised.
    anisotropy: `first_norm` and twice `alignment` (anisotropy): large means memorised.
    clip_score: CLIP scores; null without a CLIP folder.
    command: The command line.
    dtype: Number format of the network.
    first_norm: Wen's norm at the first step.
    fit: How well images fit their prompts, by a head that was learnt for it; null if it was not asked for.
    generations: Images for each prompt.
    guidance: Classifier-free guidance.
    mean_norm: Wen's norm, mean over all steps: large means memorised.
    mitigation: What the remedy did; null without one.
    models: Folders of the model, or of two that alternate.
    n_memorised: Prompts that are said to be memorised.
    n_others: Prompts that are not.
    order: Which of two models takes which step.
    schema: Version of the file; 1 where it is absent.
    seed: Everything random follows from it.
    sharpness: How much the pull of the prompt changes along itself, at pure noise: large means memorised.
    similarity: How like its image a drawing is; null where prompts have no images.
    steps: DDIM steps of each.
    t_error: SecMI's t-error of what is drawn: small means memorised.
    versions: What measured it.
    weights: Which of their weights: `ema` or `raw`.
    weights_blake3: Hash of their weights.
    """

    alignment: PromptMeasure = field(default_factory=lambda: PromptMeasure())
    anisotropy: PromptMeasure = field(default_factory=lambda: PromptMeasure())
    clip_score: ClipScores | None = None
    command: str = ""
    dtype: str = ""
    first_norm: PromptMeasure = field(default_factory=lambda: PromptMeasure())
    fit: FitScores | None = None
    generations: int = 0
    guidance: float = 0.0
    mean_norm: PromptMeasure = field(default_factory=lambda: PromptMeasure())
    mitigation: Remedied | None = None
    models: list[str] = field(default_factory=list)
    n_memorised: int = 0
    n_others: int = 0
    order: str = ""
    schema: int | None = None
    seed: int = 0
    sharpness: PromptMeasure = field(default_factory=lambda: PromptMeasure())
    similarity: Similarities | None = None
    steps: int = 0
    t_error: PromptMeasure = field(default_factory=lambda: PromptMeasure())
    versions: Versions = field(default_factory=lambda: Versions.of({"dualmd": "", "libtorch": ""}))
    weights: str = ""
    weights_blake3: str = ""


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
class PromptMeasure(Record):
    """A measure of every prompt.

    detection: How well it tells the sides apart; null where there is one only.
    histogram: Bars of both sides.
    memorised: Of those that are.
    others: Of the others.
    t: The timestep of a t-error.
    """

    detection: AttackSummary | None = None
    histogram: Histogram = field(default_factory=lambda: Histogram())
    memorised: Spread | None = None
    others: Spread | None = None
    t: int | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class RelativeFits(Record):
    """Fits between 0 (a strange text) and 1 (the own text of a real image).

    memorised: Of those that are.
    others: Of the others.
    own_images: Of the memorised prompts' own images.
    """

    memorised: Spread | None = None
    others: Spread | None = None
    own_images: Spread | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Remedied(Record):
    """What a remedy did.

    how: Which one: `wen`.
    learning_rate: Of the optimiser.
    loss_after: The norm after.
    loss_before: The norm before.
    most_steps: Most changes of an embedding.
    reached: Prompts that reached the target.
    target: The norm that ends it.
    weight_decay: Of the optimiser.
    """

    how: str = ""
    learning_rate: float = 0.0
    loss_after: Spread | None = None
    loss_before: Spread | None = None
    most_steps: int = 0
    reached: int = 0
    target: float = 0.0
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class Sides(Record):
    """Something of the prompts that are said to be memorised, and of the others.

    memorised: Of those that are.
    others: Of the others.
    """

    memorised: Spread | None = None
    others: Spread | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Sides2(Record):
    """Something of the prompts that are said to be memorised, and of the others.

    memorised: Of those that are.
    others: Of the others.
    """

    memorised: float | None = None
    others: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Similarities(Record):
    """Similarities between drawings and images.

    beyond_captions: How many memorised prompts lie above what captions alone explain; null with fewer than 20 of
        the others.
    features: What they are compared by.
    nearest_heldout: Of a drawing and the held-out image that is most like it.
    nearest_member: Of a drawing and the member that is most like it.
    own: Of a prompt's drawing and its own image.
    share_above_half: Share of the prompts whose drawing is like its own image by more than 0.5, as DCR counts
        copies.
    """

    beyond_captions: Beyond | None = None
    features: str = ""
    nearest_heldout: Sides = field(default_factory=lambda: Sides())
    nearest_member: Sides = field(default_factory=lambda: Sides())
    own: Sides = field(default_factory=lambda: Sides())
    share_above_half: Sides2 = field(default_factory=lambda: Sides2())


@dataclass(frozen=True, kw_only=True, repr=False)
class Spread(Record):
    """Mean, standard deviation and quantiles.

    max: The largest.
    mean: Their mean.
    median: Half lie below.
    min: The smallest.
    n: Values.
    q05: 5 % lie below.
    q95: 95 % lie below.
    std: Their standard deviation; null of a single one.
    """

    max: float = 0.0
    mean: float = 0.0
    median: float = 0.0
    min: float = 0.0
    n: int = 0
    q05: float = 0.0
    q95: float = 0.0
    std: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Versions(Record):
    """Versions that results depend on.

    commit: Commit that the program was built from, `+changes` behind it where files differed; none where that is
        not known.
    dualmd: This program.
    libtorch: The tensor library.
    """

    commit: str | None = None
    dualmd: str
    libtorch: str
