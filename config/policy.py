"""The settings of the policy: who may see which data from where. Without a `policy` section there is none.

What the words mean is in docs/compliance.md; `router.policy` compiles and decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from config.option import DURATION, Option
from config.secrets import Secret
from config.words import Failover, Mask, Operation, StoreKind

MAX_LEVELS = 16
MAX_TAGS = 12
MAX_RULES = 4096

ANY = "any"
"""Stands for all legal domains where a list of them is expected."""

HOME = "home"
"""Stands for the data's own legal domain."""

HERE = "here"
"""Stands for the legal domain of the region whose Fairlead authenticated a subject."""


def _empty() -> Any:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What a rule says: `allow`, `mask`, `mask(email)`, `tokenise`, `aggregate(10)`, `send_home`, `refuse`.

    `word` is the part before the parentheses; `mask` and `k` what is in them.
    """

    word: str
    mask: str | None = None
    k: int = 0

    def __str__(self) -> str:
        argument = self.mask or (str(self.k) if self.k else "")
        return f"{self.word}({argument})" if argument else self.word


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSettings:
    """A legal domain: where one law sees what is stored and who reads. A region is in exactly one."""

    regions: Annotated[tuple[str, ...], Option("The regions in it.")]
    token_key: Annotated[
        Secret | None,
        Option(
            "The key that tokens of this domain's data are made with (32 characters or more), by reference: "
            "{env: NAME} or {file: PATH}. Only Fairleads of the domain read it. Needed for the rules that tokenise.",
            secret=True,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSettings:
    """Where data of a class (or with a tag) may be kept outside its home domain. Of data with a class and tags,
    only what all of them allow."""

    replicas_in: Annotated[
        tuple[str, ...],
        Option(
            "The domains that may hold copies that serve reads: replicas, reference tables. `home`, `any`, or names; "
            "home is always among them. Without it: home only, for the lowest class any."
        ),
    ] = ()
    failover: Annotated[
        Failover | None,
        Option(
            "within_domain: another region of the home domain may take over; refuse: none may, rows stay unavailable "
            "until their region is back. Without it within_domain; the lowest class may fail over to where replicas "
            "may be."
        ),
    ] = None
    backup_in: Annotated[
        tuple[str, ...],
        Option("The domains that backups may lie in. Without it: home only, for the lowest class any."),
    ] = ()
    logs_in: Annotated[
        tuple[str, ...],
        Option(
            "The domains that log and audit stores carrying it may stand in. Without it: home only, for the lowest "
            "class any."
        ),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnLabel:
    """The class of a column; `email: personal` for short, `[personal, us_health]` with tags."""

    short: ClassVar[str] = "classes"

    classes: Annotated[tuple[str, ...], Option("One class, and any tags.")]
    mask: Annotated[
        Mask | None, Option("The mask that the verdict `mask` means for this column. Without it null.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLabel:
    """The class of a table; `countries: public` for short."""

    short: ClassVar[str] = "classes"

    classes: Annotated[
        tuple[str, ...],
        Option(
            "The class of columns that `columns` does not name, and of the fact that a row is there; with any tags. "
            "Without it the keyspace's."
        ),
    ] = ()
    columns: Annotated[Mapping[str, ColumnLabel], Option("The classes of columns.")] = field(default_factory=_empty)
    home: Annotated[
        str | None,
        Option(
            "The domain that all its rows belong to, wherever they are kept. Without it the domain of the shard a row "
            "is on; rows of a reference table then belong to the domain of every shard."
        ),
    ] = None
    person: Annotated[
        str | None,
        Option("The column that tells apart the persons whom rows are about; aggregate(k) and budgets count it."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyspaceLabel:
    """The classes of a keyspace's tables; `wiki: public` for short."""

    short: ClassVar[str] = "classes"

    classes: Annotated[
        tuple[str, ...],
        Option("The class of tables without a label, with any tags. Without it the top: highest class, all tags."),
    ] = ()
    tables: Annotated[Mapping[str, TableLabel], Option("The tables' labels.")] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectSettings:
    """Who reads and writes: the identities that it stands for, and what rules know about them. Of several entries
    for an identity the one by certificate goes before the one by user, that before the one by listener; more
    conditions before fewer. An identity without an entry may touch nothing that is restricted."""

    domain: Annotated[
        str,
        Option(
            "The legal domain they are in, or `here`: the domain of the region whose Fairlead they log in to (the "
            "network must make that true)."
        ),
    ]
    users: Annotated[tuple[str, ...], Option("User names it is for. Without any: all users.")] = ()
    listeners: Annotated[tuple[str, ...], Option("Listeners it is for. Without any: all listeners.")] = ()
    certificates: Annotated[
        tuple[str, ...],
        Option("Names in the client's certificate it is for. Without any: with and without certificate."),
    ] = ()
    roles: Annotated[tuple[str, ...], Option("What they are, in names of your own.")] = ()
    purpose: Annotated[str | None, Option("What for, a name of your own.")] = None
    counterparty: Annotated[str | None, Option("For whom, when it is another organisation.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """A verdict, and what it is for. A rule that narrows another wins over it; of rules that do not narrow each
    other the stricter counts."""

    then: Annotated[
        RuleVerdict,
        Option(
            "allow; mask: by the column's mask, or mask(NAME); tokenise; aggregate(K): only in aggregates over at "
            "least K persons; send_home: carried out at home, no value comes back; refuse."
        ),
    ]
    classes: Annotated[
        tuple[str, ...],
        Option("The classes and tags it is for, each for itself. Without any: all above the lowest, and all tags."),
    ] = ()
    homes: Annotated[tuple[str, ...], Option("The data's home domains. Without any: all.")] = ()
    domains: Annotated[
        tuple[str, ...],
        Option(
            "The subjects' domains: names, `home`, or `any`. Without any: home only; of a rule that refuses, any."
        ),
    ] = ()
    roles: Annotated[tuple[str, ...], Option("The subjects' roles; one of them is enough. Without any: all.")] = ()
    purposes: Annotated[tuple[str, ...], Option("The subjects' purposes. Without any: all.")] = ()
    counterparties: Annotated[tuple[str, ...], Option("The subjects' counterparties. Without any: all.")] = ()
    operations: Annotated[
        tuple[Operation, ...], Option("Reading or writing. Without any: reading; of a rule that refuses, both.")
    ] = ()
    log: Annotated[bool, Option("Keep a decision record of each use (across domains one is always kept).")] = False
    budget: Annotated[str | None, Option("Count the persons exposed against this budget.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """How many persons' data may be seen, counted for each class, from-domain, to-domain and counterparty."""

    persons: Annotated[int, Option("The most distinct persons in the window; more is refused.", low=1)]
    warn: Annotated[int | None, Option("From how many on it is warned. Without it, never.", low=1)] = None
    window: Annotated[
        float, Option("Over how long they are counted.", DURATION, low=86400, high=730 * 86400)
    ] = 365 * 86400.0
    calendar_year: Annotated[bool, Option("Count from the first of January instead.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Where data is kept besides the shards' servers, so that `fairlead check` can tell whether it may be there."""

    kind: Annotated[StoreKind, Option("backup: of rows; log, audit: what Fairleads write down.")]
    region: Annotated[str, Option("The region it stands in.")]
    of: Annotated[
        tuple[str, ...],
        Option(
            "What it is filled from: for a backup shards or other backups, for a log or audit store the regions whose "
            "Fairleads write there, or other such stores."
        ),
    ]
    zone: Annotated[str | None, Option("The zone it stands in.")] = None
    carries: Annotated[
        tuple[str, ...],
        Option("For log and audit: the highest class of what is written there, with any tags. Needed for these."),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """Who may see which data from where, and where it may be kept. What no rule allows across domains is refused."""

    domains: Annotated[Mapping[str, DomainSettings], Option("The legal domains, by name.")]
    classes: Annotated[
        Mapping[str, ClassSettings],
        Option(
            "The data classes in rising order. The first is never restricted. Without it public, internal, "
            "pseudonymous, personal, sensitive."
        ),
    ] = field(default_factory=_empty)
    tags: Annotated[
        Mapping[str, ClassSettings],
        Option("Regimes that data may be under whatever its class; rules and residency apply to each as well."),
    ] = field(default_factory=_empty)
    labels: Annotated[
        Mapping[str, KeyspaceLabel], Option("The classes of tables and columns, by keyspace. Unlabelled is the top.")
    ] = field(default_factory=_empty)
    subjects: Annotated[Mapping[str, SubjectSettings], Option("Who asks, by a name of your own.")] = field(
        default_factory=_empty
    )
    rules: Annotated[Mapping[str, RuleSettings], Option("The rules, by name; their order means nothing.")] = field(
        default_factory=_empty
    )
    budgets: Annotated[Mapping[str, BudgetSettings], Option("Budgets of exposure, by name.")] = field(
        default_factory=_empty
    )
    failover: Annotated[
        Mapping[str, tuple[str, ...]],
        Option("Shard -> the shards that take its rows over when it is lost, besides its own replicas."),
    ] = field(default_factory=_empty)
    stores: Annotated[Mapping[str, StoreSettings], Option("Backups, log and audit stores, by name.")] = field(
        default_factory=_empty
    )


DEFAULT_CLASSES: Mapping[str, ClassSettings] = MappingProxyType(
    {name: ClassSettings() for name in ("public", "internal", "pseudonymous", "personal", "sensitive")}
)
