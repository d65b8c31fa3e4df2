"""Where results are kept: one JSON file and one picture per run, named by time and commit."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest.bench import machine

ROOT = Path(__file__).resolve().parents[1] / "results"
LOCAL = ROOT / "local"
"""Not under version control; `--out loadtest/results` keeps a run for the record."""


def save(folder: Path, kind: str, content: Mapping[str, Any], picture: str | None = None) -> list[Path]:
    """Writes KIND-TIME-COMMIT.json, and .svg when there is a picture. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{machine.commit()}"
    files = {f"{stem}.json": json.dumps(content, indent=1, default=str) + "\n"}
    if picture is not None:
        files[f"{stem}.svg"] = picture
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]
