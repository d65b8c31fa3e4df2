"""Where a world keeps its files: a short path of its own that does not outlive its owner for long."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "fl-"
OWNER = "owner"


def create() -> Path:
    """A new directory `/tmp/fl-XXXXXXXX`, mode 0700; first clears away what dead owners left.

    Not below $TMPDIR: unix socket paths hold 107 bytes, and pytest's own directories are long.
    """
    base = _base()
    _clear_abandoned(base)
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    (path / OWNER).write_text(_identity(os.getpid()))
    return path


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _base() -> Path:
    return Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())


def _clear_abandoned(base: Path) -> None:
    for path in base.glob(f"{PREFIX}*"):
        # Another user's directory, or one being made or removed right now: not ours to judge.
        with contextlib.suppress(OSError):
            owner = (path / OWNER).read_text()
            if owner != _identity(int(owner.split()[0])):
                remove(path)


def _identity(pid: int) -> str:
    """`pid starttime`: a pid alone may have been given to another process since (proc(5), field 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return f"{pid} gone"
    return f"{pid} {fields[19]}"
