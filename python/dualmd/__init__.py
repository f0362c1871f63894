"""dualmd: diffusion models with defences against membership inference, and an audit of how much any of them gives away.

    import dualmd
    found = dualmd.audit("my-model/", members="train/", nonmembers="heldout/")
    print(found)                                        # the verdict in words
    found.models["model"].shown["sima"].interval        # typed values of report.json
    found.scores()                                      # a DataFrame, where pandas is there

Before hours of work, `dualmd.audit(..., check=True)` says in seconds how long it takes and what speaks against it. `extract`, `memorisation`, `metrics`,
`lora_size` and `verify` are the commands of these names; `call` starts any other.

The model may also be a pipeline object of diffusers, or any callable (x, t, c) -> prediction: see `audit`, `Denoiser` and `serve`.

For who trains with a script of their own: `split`, `DistillMD` and `DualMDPipeline` are the defences. `tuned_pair` opens the two adapters
of `dualmd tune`.

The program is a compiled one. This package finds libtorch for it and starts it. torch is imported only to hand tensors to a callable
of yours.
"""

from typing import TYPE_CHECKING

from .audit import Audit, FailOn, audit, compare, experiment, report, run, tune
from .commands import Metrics, attacks, extract, lora_size, memorisation, metrics, verify
from .defense import DistillMD, DualMDPipeline, Image, Split, split
from .denoiser import Denoiser, serve, serving
from .engine import Engine, NoEngine, find, setup
from .launcher import __version__, main
from .process import ProgramError, call
from .report_types import ModelReport, Report
from .results import Attack, Check, LoraSize, Part, RunCheck, Seeds, Staged, Verified, Written
from .roc import roc
from .tuned import tuned_pair

if TYPE_CHECKING:
    from . import convert as convert
else:

    def __getattr__(name):
        # Imported when it is asked for: `python -m dualmd.convert` starts it by itself.
        if name == "convert":
            import importlib

            return importlib.import_module("dualmd.convert")
        raise AttributeError(f"module 'dualmd' has no attribute {name!r}")


__all__ = [
    "Attack",
    "Audit",
    "Check",
    "Denoiser",
    "DistillMD",
    "DualMDPipeline",
    "Engine",
    "FailOn",
    "Image",
    "LoraSize",
    "Metrics",
    "ModelReport",
    "NoEngine",
    "Part",
    "ProgramError",
    "Report",
    "RunCheck",
    "Seeds",
    "Split",
    "Staged",
    "Verified",
    "Written",
    "__version__",
    "attacks",
    "audit",
    "call",
    "compare",
    "convert",
    "experiment",
    "extract",
    "find",
    "lora_size",
    "main",
    "memorisation",
    "metrics",
    "report",
    "roc",
    "run",
    "serve",
    "serving",
    "setup",
    "split",
    "tune",
    "tuned_pair",
    "verify",
]
