"""Builds the extension modules and the probe with AddressSanitizer and UndefinedBehaviorSanitizer.

They land under build/fuzz/, in a folder named after a hash of all sources: an unchanged tree is built once.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
FUZZ = Path(__file__).parent
OUTPUT = ROOT / "build" / "fuzz"
KEPT = 3
INCLUDE = sysconfig.get_path("include")
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))

MODULES = (
    "_speedups/lexer", "_speedups/hashing", "_speedups/packet", "_speedups/resp", "_speedups/stats",
    "_speedups/scanner", "_speedups/rows", "_speedups/relay", "_speedups/redis_stats",
    "_speedups/redis_relay",
)  # fmt: skip
"""Further modules join here, with a target in targets.py."""
PROBES = ("probe",)

FLAGS = (
    "-O0", "-g", "-fPIC", "-shared", "-fwrapv", "-fno-omit-frame-pointer", "-Wno-unused-function",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
)  # fmt: skip


class BuildFailed(Exception):
    """The compiler's own words."""


def sanitizer_runtime() -> str:
    """The path of libasan, to be preloaded into python."""
    found = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return str(Path(found).resolve())


def available() -> bool:
    """Is there a gcc with its sanitizers?"""
    return shutil.which("gcc") is not None and Path(sanitizer_runtime()).is_file()


def build() -> Path:
    """The folder to put first on sys.path: `_speedups` and `probe`, with sanitizers. Raises BuildFailed."""
    place = OUTPUT / _fingerprint()
    if place.exists():
        return place
    OUTPUT.mkdir(parents=True, exist_ok=True)
    _drop_old()
    with tempfile.TemporaryDirectory(dir=OUTPUT, prefix="building-") as temporary:
        work = Path(temporary) / "tree"
        (work / "_speedups").mkdir(parents=True)
        (work / "_speedups" / "__init__.py").touch()
        sources = {work / module: ROOT / f"{module}.pyx" for module in MODULES}
        sources |= {work / probe: FUZZ / f"{probe}.pyx" for probe in PROBES}
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda target: _compile(sources[target], target), sources))
        with contextlib.suppress(OSError):  # another process was quicker
            work.rename(place)
    return place


def _drop_old() -> None:
    """Keep the few builds that somebody may still be running."""
    built = sorted(OUTPUT.glob("[0-9a-f]*[0-9a-f]"), key=lambda path: path.stat().st_mtime)
    for path in built[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def _fingerprint() -> str:
    digest = hashlib.sha256(repr((FLAGS, MODULES, sys.version)).encode())
    for source in _sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> list[Path]:
    found = sorted([*(ROOT / "_speedups").glob("*.p[yx]*"), *FUZZ.glob("*.pyx")])
    return [path for path in found if path.suffix in (".pyx", ".pxd", ".pxi")]


def _compile(source: Path, target: Path) -> None:
    c_file = source.with_suffix(".c")  # the usual build's, if it is of these sources
    library = target.with_name(target.name + SUFFIX)
    newest = max(path.stat().st_mtime for path in _sources())
    if not c_file.exists() or c_file.stat().st_mtime < newest:
        c_file = target.with_suffix(".c")
        _run([sys.executable, "-m", "cython", "-3", "-I", str(ROOT), str(source), "-o", str(c_file)])
    _run(["gcc", *FLAGS, f"-I{INCLUDE}", str(c_file), "-o", str(library)])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise BuildFailed(done.stderr[-4000:])
