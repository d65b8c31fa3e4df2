"""Programs in other languages that use Fairlead as applications do: made ready once, and skipped loudly without their
language's tools or libraries."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.servers import absent

HERE = Path(__file__).parent
INSTALL_TIMEOUT = 180
GO_LIBRARIES = Path("/usr/share/gocode")
JAVA_DRIVER = Path("/usr/share/java/mariadb-java-client.jar")


def cached(name: str, sources: list[Path]) -> Path:
    """A folder for what is made of these very sources; `ready` in it says that it is made."""
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in sources)).hexdigest()[:12]
    place = Path(os.environ.get("FAIRLEAD_CACHE", "~/.cache/fairlead")).expanduser() / f"{name}-{digest}"
    place.mkdir(parents=True, exist_ok=True)
    return place


def node_program(name: str) -> Path:
    """A script of node/ beside its libraries."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        absent("node", "node and npm are not on this machine; wanted: nodejs npm")
    sources = sorted((HERE / "node").iterdir())
    place = cached("node", sources)
    if not (place / "ready").exists():
        for one in sources:
            shutil.copy(one, place)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        _make("node", command, place, "npm could not fetch the client libraries")
    return place / name


def go_program() -> list[str]:
    source = HERE / "frameworks" / "go" / "main.go"
    if shutil.which("go") is None or not (GO_LIBRARIES / "src/github.com/go-sql-driver").exists():
        wanted = "golang-go golang-github-go-sql-driver-mysql-dev"
        absent("go", f"Go with go-sql-driver is not on this machine; wanted: {wanted}")
    place = cached("go", [source])
    if not (place / "ready").exists():
        environment = {"GO111MODULE": "off", "GOPATH": str(GO_LIBRARIES), "GOCACHE": str(place / "cache")}
        command = ["go", "build", "-o", str(place / "tour"), str(source)]
        _make("go", command, source.parent, "go could not build the program", environment, place)
    return [str(place / "tour")]


def c_program() -> list[str]:
    source = HERE / "frameworks" / "c" / "cursor.c"
    if shutil.which("gcc") is None or shutil.which("mariadb_config") is None:
        absent("c", "gcc with MariaDB Connector/C is not on this machine; wanted: gcc libmariadb-dev")
    place = cached("c", [source])
    if not (place / "ready").exists():
        flags = subprocess.run(["mariadb_config", "--cflags", "--libs"], capture_output=True, text=True, check=True)
        command = ["gcc", "-o", str(place / "cursor"), str(source), *flags.stdout.split()]
        _make("c", command, source.parent, "gcc could not build the program", place=place)
    return [str(place / "cursor")]


def java_program() -> list[str]:
    if shutil.which("javac") is None or not JAVA_DRIVER.exists():
        absent("java", "Java with MariaDB Connector/J is not here; wanted: default-jdk-headless libmariadb-java")
    return ["java", "-cp", str(JAVA_DRIVER), str(HERE / "frameworks" / "java" / "Tour.java")]


def _make(
    what: str, command: list[str], folder: Path, failure: str, environment: dict[str, str] | None = None,
    place: Path | None = None,
) -> None:  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        absent(what, f"{failure} in time")
    if done.returncode:
        absent(what, f"{failure}: {done.stderr[-300:]}")
    ((place or folder) / "ready").touch()
