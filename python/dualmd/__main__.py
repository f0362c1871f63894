"""`python -m dualmd ARGS` is `dualmd ARGS`."""

import os
import sys

# With -m the working folder comes first in the search path. A folder `torch` that happens to lie there is not to be loaded.
sys.path[:] = [folder for folder in sys.path if folder not in ("", os.getcwd())]

from dualmd.launcher import main  # noqa: E402

sys.exit(main())
