"""dualmd: diffusion models that keep their training images to themselves, and an audit of those that do not.

    import dualmd
    found = dualmd.audit("my-model/", members="train/", nonmembers="heldout/")
    print(found)                                        # the verdict in words
    found.models["model"].attacks["sima"].interval      # typed values of report.json
    found.scores()                                      # a DataFrame, where pandas is there

The model may also be a pipeline object of diffusers, or any callable (x, t, c) -> prediction: see `audit`, `Denoiser` and `serve`.

The program is a compiled one. This package finds libtorch for it and starts it. torch is imported only to hand tensors to a callable
of yours.
"""

from .audit import Audit, audit, experiment
from .denoiser import Denoiser, serve, serving
from .engine import Engine, NoEngine, find, setup
from .launcher import __version__, main
from .process import ProgramError, call

__all__ = [
    "Audit",
    "Denoiser",
    "Engine",
    "NoEngine",
    "ProgramError",
    "__version__",
    "audit",
    "call",
    "experiment",
    "find",
    "main",
    "serve",
    "serving",
    "setup",
]
