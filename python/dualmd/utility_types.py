"""The types of utility/MODEL.json, and of what `dualmd metrics` prints. Written by python/generate.py from docs/schema/utility.schema.json: do not edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .reading import Record

Asked = tuple[Any, Any, Any, Any]


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
class DensityCoverage(Record):
    """Density and coverage.

    coverage: Share of real images with a generated one nearby.
    density: Around 1 for a perfect model; above where it stays among crowded real images.
    k: Neighbours.
    n: Generated and real images.
    """

    coverage: float = 0.0
    density: float = 0.0
    k: int = 0
    n: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True, repr=False)
class Floor(Record):
    """Distances at one n on every side.

    excess: Mean of `generated_real` less mean of `real_real`: what is the model's own.
    generated_real: Generated against the first half of the same real images.
    n: Images on each side of each distance.
    rank_deficient: Whether n is at most D: covariances without full rank.
    real_real: Real against other real images: what a perfect model would score.
    """

    excess: float = 0.0
    generated_real: Spread = field(default_factory=lambda: Spread())
    n: int = 0
    rank_deficient: bool = False
    real_real: Spread = field(default_factory=lambda: Spread())


@dataclass(frozen=True, kw_only=True, repr=False)
class Frechet(Record):
    """A Frechet distance.

    dim: Columns of the features, D.
    mean_term: The part |m1 - m2|^2 of it.
    n: Images on either side, where known.
    rank_deficient: Whether a side is known to have no more images than D: its covariance has no full rank, and
        much of the value is bias.
    value: The distance (a squared length, as the field reports it); not below 0.
    """

    dim: int = 0
    mean_term: float = 0.0
    n: tuple[int | None, int | None] = (None, None)
    rank_deficient: bool = False
    value: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class FrechetReport(Record):
    """A Frechet distance with its interval and its floor.

    ci: 95 % interval of the expected distance at these numbers of images, not below 0.
    distance: The distance over all images.
    floor: The comparison at equal n.
    sd_generated: Jackknife standard deviation from the choice of generated images.
    sd_real: Jackknife standard deviation from the choice of real images.
    """

    ci: tuple[float, float] = (0.0, 0.0)
    distance: Frechet = field(default_factory=lambda: Frechet())
    floor: Floor = field(default_factory=lambda: Floor())
    sd_generated: float = 0.0
    sd_real: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class InceptionScore(Record):
    """Inception score.

    mean: Mean over the splits.
    sd: Standard deviation over the splits (division by their number, as the field has it).
    splits: The score of each split.
    upper_bound: What no split can exceed: the smaller of classes and images in the largest split.
    """

    mean: float = 0.0
    sd: float = 0.0
    splits: list[float] = field(default_factory=list)
    upper_bound: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class Kid(Record):
    """Kernel distance.

    full: The unbiased estimate from all images.
    full_se: Jackknife standard error of `full`, over the images of both sides.
    mean: Mean over the subsets.
    sd: Standard deviation over the subsets (division by their number, as the field has it).
    subset_size: Images per subset on either side: 1,000, or half the smaller side where that has fewer.
    subsets: Subsets drawn.
    """

    full: float = 0.0
    full_se: float = 0.0
    mean: float = 0.0
    sd: float = 0.0
    subset_size: int = 0
    subsets: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class MemorisationGap(Record):
    """Are generated images nearer to the training images than to others of the same kind?

    gap: `to_members` less `to_nonmembers`: below 0 when the generated images are nearer to the members.
    kernel_gap: The same of kernel distances (KID), by which the test is made; null when none was asked for, and
        in files of earlier versions.
    n: Real images on either side.
    p_value: Share of relabellings with a `kernel_gap` at least as low, the true labels counted as one of them;
        null when none were asked for. In files of earlier versions, which have no `kernel_gap`, of 99
        relabellings with a `gap` at least as low.
    relabellings: Relabellings of these images.
    tested: Real images on either side that the test looked at: fewer than `n` where there are many.
    to_members: Distance from the generated images to the members.
    to_nonmembers: Distance from the generated images to the non-members.
    """

    gap: float = 0.0
    kernel_gap: float | None = None
    n: int = 0
    p_value: float | None = None
    relabellings: int | None = None
    tested: int | None = None
    to_members: float = 0.0
    to_nonmembers: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class OwnPrompt(Record):
    """Mean likeness of generated images to the images that their captions belong to.

    heldout: For captions that it did not.
    members: For captions that the model learnt.
    """

    heldout: float = 0.0
    members: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class PrecisionRecall(Record):
    """Improved precision and recall.

    k: Neighbours.
    n: Generated and real images.
    precision: Share of generated images that look like real ones.
    recall: Share of real images that the model could have drawn.
    """

    k: int = 0
    n: tuple[int, int] = (0, 0)
    precision: float = 0.0
    recall: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class Published(Record):
    """Image quality as public codes print it: against all training images of the data set, members or not.

    frechet: Frechet distance to all training images.
    inception_score: Inception score in ten splits.
    """

    frechet: Frechet | None = None
    inception_score: InceptionScore | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Spread(Record):
    """A quantity that was measured several times.

    high: Highest.
    low: Lowest.
    mean: Mean.
    values: All, in the order of the repetitions.
    """

    high: float = 0.0
    low: float = 0.0
    mean: float = 0.0
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class Utility(Record):
    """What the images of one model are worth.

    asked: What was to be measured when the file was written. A run that asks for something else measures again.
    copies: Copies of members among the generated images, for each likeness.
    density_coverage: Density and coverage.
    features: Name of the features.
    frechet: Frechet distance with interval and floor.
    gap: Distances to members and to non-members.
    inception_score: Inception score in one split, of features that have classes.
    kid: Kernel distance.
    missing: What could not be measured, and why.
    n_generated: Generated images.
    n_real: Real images.
    of_: Hash over all that the file follows from, where an audit measured: while it is the same, nothing is
        measured again.
    precision_recall: Precision and recall.
    published: Frechet distance and Inception score as public codes print them, of Inception features only.
    schema: Version of the file; 1 where it is absent.
    """

    asked: Asked | None = None
    copies: list[Copying] | None = field(default_factory=list)
    density_coverage: DensityCoverage | None = None
    features: str | None = None
    frechet: FrechetReport | None = None
    gap: MemorisationGap | None = None
    inception_score: InceptionScore | None = None
    kid: Kid | None = None
    missing: list[str] | None = field(default_factory=list)
    n_generated: int = 0
    n_real: int = 0
    of_: str | None = None
    precision_recall: PrecisionRecall | None = None
    published: Published | None = None
    schema: int | None = None
