"""The settings of the decision records: `audit:` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from config.option import DURATION, KIB, MIB, PATH, SIZE, Option
from config.secrets import Secret
from config.words import AuditMode


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Who was shown what of which home, and by which rule, is written down (docs/audit.md)."""

    folder: Annotated[
        Path,
        Option(
            "A folder on this host. Records go into a folder in it that is named after the region's legal domain; a "
            "Fairlead writes about its own region's rows only.",
            PATH,
        ),
    ]
    key: Annotated[
        Secret,
        Option(
            "The Ed25519 key (PEM) that signs the anchors, by reference: {file: PATH} or {env: NAME}.", secret=True
        ),
    ]
    mode: Annotated[
        AuditMode,
        Option(
            "on: every decision across domains and every reduction or refusal is recorded, and nothing of the kind "
            "runs while records cannot be written. strict: such a statement across domains runs only when its record "
            "is on the disk. off: no records."
        ),
    ] = AuditMode.ON
    store: Annotated[
        str | None,
        Option("The entry of policy.stores that the folder is, when it stands elsewhere than in the region."),
    ] = None
    sample: Annotated[
        int,
        Option(
            "Of statements that touch restricted data in its own domain and are simply allowed, one in so many is "
            "recorded. 0: none.",
            low=0,
            high=1_000_000,
        ),
    ] = 100
    wait: Annotated[
        float,
        Option("How long a statement waits for its record, or for room; then it is refused.", DURATION, low=0.01),
    ] = 5.0
    buffer: Annotated[
        int, Option("The most bytes of records that wait for the disk, per worker.", SIZE, low=64 * KIB)
    ] = 8 * MIB
    segment: Annotated[int, Option("A file is closed and sealed when it is so large.", SIZE, low=4 * KIB)] = 16 * MIB
    segment_age: Annotated[float, Option("And when it is so old.", DURATION, low=1)] = 86_400.0
    segments: Annotated[
        int, Option("How many files are kept, per worker; the oldest go.", low=2, high=1_000_000)
    ] = 1024
    anchor: Annotated[
        float,
        Option(
            "The time between two anchors while something is written. With a metastore they are also kept there.",
            DURATION,
            low=0.1,
        ),
    ] = 10.0

    @property
    def is_on(self) -> bool:
        return self.mode is not AuditMode.OFF
