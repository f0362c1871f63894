"""dualmd: diffusion models that keep their training images to themselves, and an audit of those that do not.

The program is a compiled one. This package finds libtorch for it and starts it; torch is never imported.
"""

from .engine import Engine, NoEngine, find, setup
from .launcher import __version__, main, run

__all__ = ["Engine", "NoEngine", "__version__", "find", "main", "run", "setup"]
