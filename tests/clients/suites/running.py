"""Where the suites come from and how each is run against one port."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.clients.programs import GO_LIBRARIES, cached
from tests.clients.suites.outcomes import Outcomes, of_go, of_junit, of_lines
from tests.servers import absent

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
INSTALL_TIMEOUT = 600
RUN_TIMEOUT = 1800
USER = PASSWORD = "demo"
DATABASES = ("test", "test_schema", "test_schema_2", "gotest", "test_default", "test_other")
"""What the suites expect to find or to create, by the names that they have in them."""
SOURCES = ("Django", "SQLAlchemy")
"""Their tests are in the source distribution only."""
DJANGO = HERE / "django_labels.txt"
"""The parts of Django's tests that use the database and need nothing else."""


@dataclass(frozen=True)
class Run:
    """One run of a suite: against a port, of this kind of server, in a folder of its own."""

    port: int
    flavour: str
    folder: Path


@cache
def place() -> Path:
    """A folder with a Python of its own (`env`) and the unpacked sources."""
    found = cached("driver-suites", [REQUIREMENTS])
    if not (found / "ready").exists():
        _call([sys.executable, "-m", "venv", str(found / "env")], found)
        pip = [str(found / "env" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
        _call([*pip, "install", "-r", str(REQUIREMENTS)], found)
        pinned = [line for line in REQUIREMENTS.read_text().split() if line.startswith(SOURCES)]
        _call([*pip, "download", "--no-deps", "--no-binary", ",".join(SOURCES), "-d", str(found), *pinned], found)
        for archive in found.glob("*.tar.gz"):
            with tarfile.open(archive) as packed:
                packed.extractall(found, filter="data")
        (found / "ready").touch()
    return found


def _call(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT,
        env={**os.environ, **(environment or {})}, check=False,
    )  # fmt: skip
    if done.returncode:
        absent("suites", f"{' '.join(command[:6])} … failed: {done.stderr[-400:]}")


def _unpacked(name: str) -> Path:
    return next(path for path in place().iterdir() if path.is_dir() and path.name.lower().startswith(f"{name}-"))


def _output(command: list[str], folder: Path, **environment: str) -> str:
    """What it prints; tests that fail are none of our failures."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=RUN_TIMEOUT,
        env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    return done.stdout


def sqlalchemy(driver: str) -> Callable[[Run], Outcomes]:
    def run(one: Run) -> Outcomes:
        report = one.folder / "report.xml"
        url = f"{one.flavour}+{driver}://{USER}:{PASSWORD}@127.0.0.1:{one.port}/test?charset=utf8mb4"
        python = str(place() / "env" / "bin" / "python")
        said = _output(
            [
                *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:logging", "--maxfail", "100000"),
                *("--dburi", url, "--junitxml", str(report), "test/dialect/test_suite.py", "test/dialect/mysql"),
            ],
            _unpacked("sqlalchemy"),
        )
        assert report.exists(), said[-2000:]
        return {_without_driver(name): outcome for name, outcome in of_junit(report).items()}

    return run


def _without_driver(name: str) -> str:
    """`ReflectionTest_mysql+pymysql_9_7_4_2::test_x` without what the class is called by for this server."""
    head, _, test = name.partition("::")
    return f"{head.partition('_m')[0]}::{test}" if "+" in head else name


def django(one: Run) -> Outcomes:
    outcomes = one.folder / "outcomes"
    said = _output(
        [
            *(str(place() / "env" / "bin" / "python"), "runtests.py", "--settings", "django_settings", "--noinput"),
            *("--parallel", "1", *DJANGO.read_text().split()),
        ],
        _unpacked("django") / "tests",
        PYTHONPATH=str(HERE), SUITE_PORT=str(one.port), SUITE_USER=USER, SUITE_PASSWORD=PASSWORD,
        SUITE_OUTCOMES=str(outcomes), PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert outcomes.exists(), said[-2000:]
    return of_lines(outcomes)


def go(one: Run) -> Outcomes:
    source = GO_LIBRARIES / "src/github.com/go-sql-driver/mysql"
    if not (source / "driver_test.go").exists():
        absent("go", "go-sql-driver's tests are not here; wanted: golang-go golang-github-go-sql-driver-mysql-dev")
    program = place() / "go.test"
    if not program.exists():
        environment = {"GO111MODULE": "off", "GOPATH": str(GO_LIBRARIES), "GOCACHE": str(place() / "go-cache")}
        _call(["go", "test", "-c", "-o", str(program), "."], source, environment)
    said = _output(
        [str(program), "-test.v"], one.folder, MYSQL_TEST_USER=USER, MYSQL_TEST_PASS=PASSWORD,
        MYSQL_TEST_ADDR=f"127.0.0.1:{one.port}", MYSQL_TEST_CONCURRENT="1",
    )  # fmt: skip
    return of_go(said)


SUITES: Mapping[str, Callable[[Run], Outcomes]] = {
    "go-sql-driver": go,
    "sqlalchemy-pymysql": sqlalchemy("pymysql"),
    "sqlalchemy-mysqldb": sqlalchemy("mysqldb"),
    "sqlalchemy-aiomysql": sqlalchemy("aiomysql"),
    "sqlalchemy-asyncmy": sqlalchemy("asyncmy"),
    "django": django,
}
