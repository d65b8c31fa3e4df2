"""Names of transactions over several shards: an XA gtrid says when it was made and which shard keeps the decision.

    0018c2f3a4d5e.9f3c01d27be84a66.eu-0      made (ms since 1970, hex) . 64 random bits . deciding shard

The bqual names the part's own shard, the format id says that it is Fairlead's. All is plain ASCII of at most 64 bytes
(XID of the X/Open XA specification), so that `XA RECOVER` reads well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

FORMAT_ID = 0x464C5831
""""FLX1"."""
LABEL_MAX = 32
_PLAIN = re.compile(rf"[A-Za-z0-9_-]{{1,{LABEL_MAX}}}")
_GTRID = re.compile(r"([0-9a-f]{12})\.([0-9a-f]{16})\.(#?[A-Za-z0-9_-]{1,32})")


@dataclass(frozen=True, slots=True)
class Gtrid:
    """One transaction's name. `made`: seconds since 1970. `decider`: the label of the shard that keeps the decision."""

    made: float
    nonce: int
    decider: str

    def __str__(self) -> str:
        return f"{int(self.made * 1000):012x}.{self.nonce:016x}.{self.decider}"

    @classmethod
    def parse(cls, text: str) -> Gtrid | None:
        """None for what Fairlead has not made."""
        found = _GTRID.fullmatch(text)
        return None if found is None else cls(int(found[1], 16) / 1000, int(found[2], 16), found[3])


def label(shard: str) -> str:
    """The shard's name, or what stands for one that is long or not plain."""
    return shard if _PLAIN.fullmatch(shard) else "#" + blake2b(shard.encode(), digest_size=8).hexdigest()


def xid(gtrid: Gtrid, shard: str) -> bytes:
    """The part's name as XA statements take it."""
    return f"'{gtrid}','{label(shard)}',{FORMAT_ID}".encode()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared part, as a server lists it."""

    gtrid: Gtrid
    label: str

    @property
    def xid(self) -> str:
        return f"'{self.gtrid}','{self.label}',{FORMAT_ID}"


def prepared(format_id: int, gtrid_length: int, data: bytes | str) -> Prepared | None:
    """A row of XA RECOVER; None for one of somebody else."""
    text = data.decode("latin-1") if isinstance(data, bytes) else data
    if format_id != FORMAT_ID:
        return None
    gtrid = Gtrid.parse(text[:gtrid_length])
    return None if gtrid is None else Prepared(gtrid, text[gtrid_length:])
