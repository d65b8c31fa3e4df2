"""A short run of the fuzzer; `python tests/fuzz/run.py --seconds 600` is the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import build

RUN = Path(__file__).parent / "run.py"


@pytest.mark.timeout(600)
@pytest.mark.skipif(not build.available(), reason="needs gcc with its sanitizers")
def test_nothing_is_found_in_a_few_seconds() -> None:
    command = [sys.executable, str(RUN), "--seconds", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "nothing found" in done.stdout
