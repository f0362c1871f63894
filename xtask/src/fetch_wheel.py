"""Fetches one wheel and goes on where an earlier attempt stopped.

    fetch_wheel.py REQUIREMENT FILE PIP_DOWNLOAD_ARGUMENTS...

pip itself cannot resume over runs. But pip's own finder knows the user's index, mirror, proxy, certificates and
passwords, so it is asked for the address and lends its HTTP session. These modules are pip's private ones: the caller
runs a plain `pip download` if anything here fails.
"""

import fcntl
import os
import sys
import time

from pip._internal.cli.cmdoptions import make_target_python
from pip._internal.commands import create_command
from pip._vendor.packaging.requirements import Requirement

ATTEMPTS = 5
CHUNK = 1 << 20


def complete(session, url, out):
    """Appends to the open file what it still lacks."""
    have = out.seek(0, os.SEEK_END)
    # Compressed transfer would make byte ranges meaningless.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    response = session.get(url, headers=headers, stream=True)
    if response.status_code == 416:  # nothing lies behind our end: all is here, or the file is another one
        return
    response.raise_for_status()
    if response.status_code != 206:
        have = 0
        out.truncate(0)
    total = have + int(response.headers.get("Content-Length", 0))
    shown = 0.0
    while chunk := response.raw.read(CHUNK):
        out.write(chunk)
        have += len(chunk)
        if time.monotonic() - shown > 2:
            shown = time.monotonic()
            print(f"  {have >> 20} of {total >> 20} MB", file=sys.stderr, flush=True)
    out.flush()
    if total and have != total:
        raise OSError(f"the connection ended after {have} of {total} bytes")


def main():
    requirement, path, *arguments = sys.argv[1:]
    requirement = Requirement(requirement)
    command = create_command("download")
    with command.main_context():
        options, _ = command.parse_args([*arguments, str(requirement)])
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session, target_python=make_target_python(options))
        best = finder.find_best_candidate(requirement.name, requirement.specifier).best_candidate
        if best is None:
            raise SystemExit(f"the index offers no {requirement}")
        link = best.link
        if link.filename != os.path.basename(path):
            raise SystemExit(f"the index offers {link.filename} instead of {os.path.basename(path)}")
        with open(path + ".partial", "ab") as out:
            fcntl.flock(out, fcntl.LOCK_EX)  # a second set-up waits here, and then finds the file
            if os.path.exists(path):
                return
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    complete(session, link.url_without_fragment, out)
                    break
                except Exception as error:
                    if attempt == ATTEMPTS:
                        raise
                    print(f"  {error}; trying again", file=sys.stderr, flush=True)
                    time.sleep(attempt)
            os.replace(path + ".partial", path)


try:
    main()
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
