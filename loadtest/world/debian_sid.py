"""Programs of Debian sid, unpacked beside the system and run with sid's own libraries.

apt does the work in directories of its own: it resolves the dependencies against an empty package status (so
the closure holds libc6 and everything else), checks the archive's signature, downloads. Nothing is installed,
no root is needed. The mirror is the one this machine's apt already uses.
"""

import os
import shutil
import subprocess
from pathlib import Path

from loadtest.world import templates
from loadtest.world.sqlserver import ServerMissing

SUITES_OF_THE_MAIN_ARCHIVE = {"stable", "oldstable", "testing", "unstable", "sid"}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
NOT_UNPACKED = ("perl", "libperl")
"""Dependencies of maintenance scripts, not of the programs."""
DOWNLOAD_TIMEOUT = 900

_failed: dict[str, str] = {}
"""What could not be had, by name: every test asks, one attempt per process is enough."""


def unpack(name: str, packages: list[str]) -> Path:
    """The root directory holding `packages` and all they need, downloaded at the first call only.

    Raises ServerMissing saying what is missing: apt, a Debian mirror, the network, the packages.
    """
    root = templates.cache_directory() / name
    if root.exists():
        return root
    if name in _failed:
        raise ServerMissing(_failed[name])
    with templates.exclusive(templates.cache_directory() / f"{name}.lock"):
        if not root.exists():
            try:
                _fetch(root, packages)
            except ServerMissing as missing:
                _failed[name] = str(missing)
                raise
    return root


def loader(root: Path) -> list[str]:
    """The words before a program's path that run it under `root`'s own dynamic linker and libraries."""
    found = sorted((root / "usr" / "lib").glob("*-linux-gnu*/ld-linux*.so.*"))
    if not found:
        raise ServerMissing(f"no dynamic linker under {root}; delete that directory to download it anew")
    return [str(found[0]), "--library-path", str(found[0].parent)]


def _fetch(root: Path, packages: list[str]) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise ServerMissing(
                f"{', '.join(packages)} of Debian sid are wanted, and {tool} is not on this machine"
            )
    work = root.with_suffix(f".{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    failures = []
    try:
        for mirror in _mirrors():
            options = _private_apt(work, mirror)
            failure = _apt(options, "update") or _apt(
                options, "install", "--download-only", "--yes", *packages
            )
            if failure is None:
                _extract(work / "cache" / "archives", work / "root")
                (work / "root").rename(root)
                return
            failures.append(f"{mirror}: {failure}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    detail = "\n".join(failures) or "this machine's apt names no mirror of the main Debian archive"
    raise ServerMissing(f"{', '.join(packages)} of Debian sid could not be downloaded:\n{detail}")


def _mirrors() -> list[str]:
    """Archive addresses that this machine's apt fetches a Debian release from, in its order."""
    suites = SUITES_OF_THE_MAIN_ARCHIVE | {_codename()}
    printed = subprocess.run(
        ["apt-get", "update", "--print-uris"], capture_output=True, text=True, check=False
    )
    mirrors: list[str] = []
    for line in printed.stdout.splitlines():
        base, found, rest = line.partition(" ")[0].strip("'").partition("/dists/")
        if found and rest.partition("/")[0] in suites and base not in mirrors:
            mirrors.append(base)
    return mirrors


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return "sid"


def _private_apt(work: Path, mirror: str) -> list[str]:
    for directory in ("state/lists/partial", "cache/archives/partial", "etc"):
        (work / directory).mkdir(parents=True, exist_ok=True)
    status = work / "status"
    status.touch()
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    sources = work / "etc" / "sources.list"
    sources.write_text(f"deb {signed}{mirror} sid main\n")
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "-",
        "Dir::State": work / "state",
        "Dir::Cache": work / "cache",
        "Dir::State::Status": status,
        "APT::Install-Recommends": "false",
        "APT::Update::Post-Invoke-Success::": "true",
        "Acquire::Languages": "none",
        # Frozen mirrors (snapshots) serve old indexes; they are still signed.
        "Acquire::Check-Valid-Until": "false",
        "Debug::NoLocking": "true",
    }
    if os.getuid() == 0:
        # Else apt drops to the user _apt, which cannot write below a private directory.
        settings["APT::Sandbox::User"] = "root"
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _apt(options: list[str], *verb: str) -> str | None:
    """None when it worked, else the lines that say why not."""
    try:
        done = subprocess.run(
            ["apt-get", "-qq", *options, *verb],
            capture_output=True,
            text=True,
            check=False,
            timeout=DOWNLOAD_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return f"apt-get {verb[0]} took more than {DOWNLOAD_TIMEOUT} s"
    errors = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
    if done.returncode == 0 and not (verb[0] == "update" and errors):
        return None
    return "; ".join(errors) or f"apt-get {verb[0]} ended with {done.returncode}"


def _extract(archives: Path, target: Path) -> None:
    target.mkdir()
    for package in sorted(archives.glob("*.deb")):
        if not package.name.startswith(NOT_UNPACKED):
            subprocess.run(["dpkg-deb", "--extract", str(package), str(target)], check=True)
