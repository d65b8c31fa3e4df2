"""Live progress on standard error: one rewritten line on a terminal, plain lines elsewhere."""

import shutil
import sys
from typing import TextIO


class Progress:
    """Prints `text` after `[done/total]`. On a terminal the line is overwritten by the next one."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()

    def step(self, done: int, total: int, text: str, seconds_left: float | None = None) -> None:
        left = "" if seconds_left is None else f"  {duration(seconds_left)} left"
        self._write(f"[{done:>{len(str(total))}}/{total}] {text}{left}")
        if done == total:
            self.end()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.end()
        print(text, file=self._stream, flush=True)

    def end(self) -> None:
        """Leaves the live line standing."""
        if self._live and self._dirty:
            print(file=self._stream, flush=True)
        self._dirty = False

    _dirty = False

    def _write(self, line: str) -> None:
        if not self._live:
            print(line, file=self._stream, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{line[:width]:<{width}}", end="", file=self._stream, flush=True)
        self._dirty = True


def duration(seconds: float) -> str:
    """`75.4` -> `1m15s`."""
    whole = max(0, round(seconds))
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
