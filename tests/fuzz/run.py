"""Fuzzes the C code of _speedups under AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/fuzz/run.py --seconds 60 [--seed 1] [--target lex …]

An hour of fuzzing is 3,600 seconds of CPU, which the targets share evenly; the last line says how many there were.

Exit code 0: nothing found; 1: a sanitizer, an assertion or a crash, with the input that was being tried; 2: it
cannot be built here.
"""

from __future__ import annotations

import argparse
import marshal
import os
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHILD = "FAIRLEAD_FUZZ_PLACE"
ROUND = 200
"""Iterations of one target before it is the turn of the one that has had the least time."""


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to fuzz, the build not counted")
    parser.add_argument("--seed", type=int, default=1, help="the same seed tries the same inputs")
    parser.add_argument("--target", action="append", help="only this target; may be given several times")
    return parser.parse_args()


def parent() -> int:
    from tests.fuzz import build

    try:
        place = build.build()
    except (build.BuildFailed, OSError, subprocess.CalledProcessError) as reason:
        print(f"cannot build with sanitizers: {reason}", file=sys.stderr)
        return 2
    environment = {
        **os.environ,
        CHILD: str(place),
        "LD_PRELOAD": build.sanitizer_runtime(),
        "PYTHONMALLOC": "malloc",
        # CPython itself leaks at exit; everything else ends the process at once.
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:exitcode=99:allocator_may_return_null=1:quarantine_size_mb=16",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    }
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:]], env=environment)
    if done.returncode:
        last = place / "last_input"
        tried = marshal.loads(last.read_bytes()) if last.exists() and last.stat().st_size else "no input yet"
        print(f"FOUND (exit {done.returncode}) with {tried}")
    return 1 if done.returncode else 0


def child(place: Path, options: argparse.Namespace) -> int:
    sys.path.insert(0, str(place))
    from _speedups import lexer
    from tests.fuzz import targets

    assert Path(lexer.__file__).is_relative_to(place), "the sanitized modules are not the ones loaded"
    chosen = options.target or list(targets.TARGETS)
    counts, spent = dict.fromkeys(chosen, 0), dict.fromkeys(chosen, 0.0)
    end = time.monotonic() + options.seconds
    dice = {one: random.Random(f"{options.seed} {one}") for one in chosen}
    with (place / "last_input").open("wb", buffering=0) as last:

        def record(tried: object) -> None:
            os.pwrite(last.fileno(), marshal.dumps((name, tried)), 0)  # what is behind it marshal does not read

        while time.monotonic() < end:
            name, begun = min(chosen, key=spent.__getitem__), time.process_time()
            for _ in range(ROUND):
                targets.TARGETS[name](dice[name], record)
            counts[name] += ROUND
            spent[name] += time.process_time() - begun
    each = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(f"{sum(counts.values())} iterations in {sum(spent.values()):.0f} s of CPU, nothing found: {each}")
    return 0


def main() -> int:
    options = arguments()
    sys.path.insert(0, str(ROOT))
    place = os.environ.get(CHILD)
    return child(Path(place), options) if place else parent()


if __name__ == "__main__":
    sys.exit(main())
