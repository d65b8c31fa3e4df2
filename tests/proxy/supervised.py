"""A supervisor over workers that only play their part: `python supervised.py CONFIG WORKERS [--watch]`.

STUB in the environment says how they play it, SUPERVISOR_TIMES shortens the supervisor's patience (JSON).
"""

import json
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path

from proxy.supervision import admin, control, crew, supervisor
from proxy.supervision.control import Message, WorkerStart


def tell(line: str) -> None:
    """In one piece, among the lines of other processes."""
    os.write(1, f"{line}\n".encode())


def obey(start: WorkerStart, message: Message) -> bool:
    """False ends the worker."""
    if message["verb"] in ("drain", "leave"):
        return False
    tell(f"stub {start.index} heard {json.dumps(message)}")
    control.send(start.control, {"verb": "reloaded", "number": message["number"]})
    return True


def refuse(start: WorkerStart, message: Message) -> bool:
    if message["verb"] == "reload":
        control.send(
            start.control, {"verb": "refused", "number": message["number"], "error": "not\nthis"}
        )
        return True
    return False


def rewrite(start: WorkerStart, message: Message) -> bool:
    """The files change again between the supervisor's reading and the worker's."""
    again = start.config.with_suffix(".again")
    if message["verb"] == "reload" and again.exists():
        again.rename(start.config)
        return refuse(start, message)
    return obey(start, message)


def mute(start: WorkerStart, message: Message) -> bool:
    return str(message["verb"]) == "reload"


def stubborn(start: WorkerStart, message: Message) -> bool:
    tell(f"stub {start.index} does not {message['verb']}")
    return True


def gibber(start: WorkerStart, message: Message) -> bool:
    for datagram in (b"\xff", b"[1]", b'{"verb": 3}', b'{"verb": "reloaded", "number": "x"}', b"[" * 60000):
        start.control.send(datagram)
    return obey(start, message)


PARTS: dict[str, Callable[[WorkerStart, Message], bool]] = {
    "obey": obey, "refuse": refuse, "rewrite": rewrite, "mute": mute, "stubborn": stubborn, "gibber": gibber,
}  # fmt: skip


def run_worker(start: WorkerStart) -> None:
    part = os.environ.get("STUB", "obey")
    if part == "crash":
        os._exit(3)
    if part == "raise":
        raise ValueError("a value of a row")
    control.send(start.control, {"verb": "ready"})
    if part == "die":
        return
    play = PARTS[part]
    while True:
        select.select([start.control], [], [])
        for message in control.receive(start.control) or ():
            if not play(start, message):
                return


def main() -> int:
    for name, seconds in json.loads(os.environ.get("SUPERVISOR_TIMES", "{}")).items():
        setattr(crew if hasattr(crew, name) else supervisor, name, seconds)
    programs = supervisor.Programs(run_worker, admin.run_admin)
    watch = "--watch" in sys.argv
    return supervisor.run(Path(sys.argv[1]), None, int(sys.argv[2]), watch=watch, programs=programs)


if __name__ == "__main__":
    raise SystemExit(main())
