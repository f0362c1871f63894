"""The types of extraction.json. Written by python/generate.py from docs/schema/extraction.schema.json: do not edit."""

from __future__ import annotations

from dataclasses import dataclass, field

from .reading import Record

@dataclass(frozen=True, kw_only=True, repr=False)
class Contrast(Record):
    """Drawing by the difference between a model and the one that it was fine-tuned from.

    model: Folder of the model that it was fine-tuned from.
    weight: How far the difference was followed: 1 is the model itself.
    """

    model: str = ""
    weight: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class Extracted(Record):
    """Images that are extracted.

    extracted: How many.
    n: Of so many.
    share: Their share.
    share_ci: Its exact 95 % interval (Clopper-Pearson).
    """

    extracted: int = 0
    n: int = 0
    share: float = 0.0
    share_ci: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True, repr=False)
class Extraction(Record):
    """What `dualmd extract` found.

    alike: Members that look almost the same as a held-out image: these make the control look worse than it is.
    alpha: Weight of the neighbours in the ratio.
    attacks: What each way of choosing images came to.
    base: The model that it was fine-tuned from, where images were drawn by the difference to it.
    candidates: Candidates that were found.
    clique: Others that lie near a candidate, at least.
    command: The command line.
    cost: What the images cost.
    dtype: Number format of the network.
    features: What images are compared by.
    generated: Images that were generated.
    inpainted: How half of each image was hidden and restored; null where whole images were generated.
    led: How a classifier led the model; null where nothing did.
    models: Folders of the model, or of two that alternate.
    n: Members and control images that were compared: equally many, one of each group.
    n_calibration: Held-out images that set the thresholds, one of each group. They are not among the control.
    n_heldout: All held-out images.
    n_members: All members.
    neighbours: Neighbours in the ratio, at most.
    order: Which of two models takes which step.
    prompted: How captions were asked for; null of a model without text.
    radius: Root mean square difference of two images, in these features, up to which they are near each other.
    radius_given: Was the radius given? Otherwise it follows from held-out images.
    rate: Share of calibration images that may pass for extracted.
    sampler: `ddim` or `ddpm`.
    schema: Version of the file; 1 where it is absent.
    searched: How embeddings were searched for; null where the model was told captions, or nothing.
    seed: Everything random follows from it.
    steps: Denoising steps of each image.
    versions: What measured it.
    weights: Which of their weights: `ema` or `raw`.
    weights_blake3: Hash of their weights.
    """

    alike: int = 0
    alpha: float = 0.0
    attacks: list[ExtractionAttack] = field(default_factory=list)
    base: Contrast | None = None
    candidates: int = 0
    clique: int = 0
    command: str = ""
    cost: ExtractionCost = field(default_factory=lambda: ExtractionCost())
    dtype: str = ""
    features: str = ""
    generated: int = 0
    inpainted: Inpainted | None = None
    led: Led | None = None
    models: list[str] = field(default_factory=list)
    n: int = 0
    n_calibration: int = 0
    n_heldout: int = 0
    n_members: int = 0
    neighbours: int = 0
    order: str = ""
    prompted: Prompted | None = None
    radius: float = 0.0
    radius_given: bool = False
    rate: float = 0.0
    sampler: str = ""
    schema: int | None = None
    searched: Searched | None = None
    seed: int = 0
    steps: int = 0
    versions: Versions = field(default_factory=lambda: Versions.of({"dualmd": "", "libtorch": ""}))
    weights: str = ""
    weights_blake3: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class ExtractionAttack(Record):
    """One way to choose among the generated images, and what it extracts.

    all_members: The same count of all members; null where it is limited who is asked for, and no control belongs
        to it.
    calibration_passed: Calibration images that pass it.
    calls_per_extracted: Network calls for each extracted member; null where there is none.
    control: Held-out images that pass for extracted, although no model saw them.
    false_rate: How often another held-out image passes, at most, over draws of the calibration images.
    members: Members that are extracted.
    name: `cliques`: candidates alone, which someone finds who has no training image. `every`: all generated
        images, as someone looks through them who knows what to look for.
    p_value: One-sided exact test (Fisher) that more members are extracted than control images.
    seconds_per_extracted: Seconds for each extracted member; null where there is none, or nothing was generated
        by this call.
    threshold: An image is extracted where the ratio is below this.
    """

    all_members: Extracted | None = None
    calibration_passed: int = 0
    calls_per_extracted: float | None = None
    control: Extracted = field(default_factory=lambda: Extracted())
    false_rate: float = 0.0
    members: Extracted = field(default_factory=lambda: Extracted())
    name: str = ""
    p_value: float = 0.0
    seconds_per_extracted: float | None = None
    threshold: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class ExtractionCost(Record):
    """What the generated images cost.

    generated_now: Images that this call generated; the others were there.
    network_calls: Network calls for all images, each image's counted by itself.
    seconds: Seconds for all images, from those that this call generated; null if it generated none.
    """

    generated_now: int = 0
    network_calls: int = 0
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Inpainted(Record):
    """How images were restored of which a part was hidden.

    each: Restorations of each.
    images: Images of members, of those that set the thresholds, and of the control.
    rows: Rows of an image.
    shown: Rows from the top that the model was shown.
    """

    each: int = 0
    images: int = 0
    rows: int = 0
    shown: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class Led(Record):
    """How a classifier of generated images led the model.

    gradients: Gradients of the classifier for these images, which are not among the network calls.
    grouped: Images of the pool in these, by which the classifier was trained.
    groups: Groups that were found.
    images: Images that were generated so, among all that were.
    kept: Groups that the model was led to: those whose images lie close together, or all large ones where none
        do.
    pool: Images that were generated first, which groups were looked for among.
    scale: How strongly it led.
    steps: Steps of its training.
    """

    gradients: int = 0
    grouped: int = 0
    groups: int = 0
    images: int = 0
    kept: int = 0
    pool: int = 0
    scale: float = 0.0
    steps: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class Prompted(Record):
    """How captions were asked for.

    captions: Captions.
    guidance: Classifier-free guidance.
    per_prompt: Images for each.
    """

    captions: int = 0
    guidance: float = 0.0
    per_prompt: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class Searched(Record):
    """How it was searched for what the model is to be told of each image.

    draws: Timesteps and noises of each update.
    images: Images of members, of those that set the thresholds, and of the control.
    learning_rate: Adam's learning rate.
    steps: Updates of each embedding.
    """

    draws: int = 0
    images: int = 0
    learning_rate: float = 0.0
    steps: int = 0


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
