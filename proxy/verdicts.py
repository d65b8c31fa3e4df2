"""The policy's part of a plan as the relay's tables hold it: for each shard the client's bytes, splices or an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from _speedups.lexer import LexedStatement
from _speedups.relay import Relay, StatementRef, VerdictRef
from proxy.compile import Compiler, error_payload
from router.errors import CATALOGUE, Refusal
from router.plan import Refuse
from router.policy.enforce import Enforcement, Part
from router.policy.splices import Anchor
from router.text import Text

PASSES, REFUSED, SPLICED, PREPARED = range(4)
"""As in relay.pxd: enum VerdictKind."""


class Verdicts:
    """Makes verdicts of one relay."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.refuses = True
        """May the relay refuse by itself? Not where refusals are recorded."""

    # --- one execution --------------------------------------------------------------------------------------

    def of_text(
        self, policy: Enforcement, shard: str, sql: Text, found: LexedStatement, mode: int
    ) -> VerdictRef:  # fmt: skip
        """What the shard gets of this very text. Raises Refusal."""
        part = policy.part(shard)
        if part.as_it_is:
            return self.passes(part)
        return self._spliced(part, policy.placed(part, sql, found, mode).here)

    def passes(self, part: Part) -> VerdictRef:
        """For what goes out as it is, or was put together before."""
        return self._relay.verdict(PASSES, allowed=part.witness)

    def prepared(self, part: Part | None, statement: StatementRef) -> VerdictRef:
        """For executions of another statement than the client has prepared. Without a policy there is no part."""
        return self._relay.verdict(PREPARED, statement=statement, allowed=part.witness if part is not None else None)

    # --- all executions of a plan -----------------------------------------------------------------------------

    def of_plan(
        self, compiler: Compiler, policy: Enforcement, sql: Text, found: LexedStatement, mode: int
    ) -> list[VerdictRef | None]:
        """By the relay's shard number, for texts that read like this one. None is decided for each text anew."""

        def spliced(part: Part) -> VerdictRef | None:
            anchors = policy.placed(part, sql, found, mode).anchors
            return self._spliced(part, anchors) if anchors is not None else None

        return self._by_shard(compiler, policy, spliced)

    def of_statement(
        self, compiler: Compiler, policy: Enforcement, form: Callable[[Part], StatementRef]
    ) -> list[VerdictRef | None]:
        """The same for a prepared statement; `form` gives a part's own."""
        return self._by_shard(compiler, policy, lambda part: self.prepared(part, form(part)))

    def _by_shard(
        self, compiler: Compiler, policy: Enforcement, other: Callable[[Part], VerdictRef | None]
    ) -> list[VerdictRef | None]:
        made: dict[int, VerdictRef | None] = {}
        numbers = {compiler.shard(name): part for name, part in policy.parts.items()}
        for part in numbers.values():
            if id(part) not in made:
                made[id(part)] = self._verdict(part, other)
        return _listed({number: made[id(part)] for number, part in numbers.items()})

    def _verdict(self, part: Part, other: Callable[[Part], VerdictRef | None]) -> VerdictRef | None:
        if part.refusal is not None:
            return self._refused(part.refusal) if self.refuses else None
        return self.passes(part) if part.as_it_is else other(part)

    def _refused(self, why: Refuse) -> VerdictRef:
        return self._relay.verdict(REFUSED, payload=error_payload(Refusal(CATALOGUE[why.entry], why.args)))

    def _spliced(self, part: Part, anchors: tuple[Anchor, ...]) -> VerdictRef:
        cuts = [(one.gap, one.start, one.end, one.seen, one.put) for one in anchors]
        return self._relay.verdict(SPLICED, cuts=cuts, allowed=part.witness)


def _listed(by_number: Mapping[int, VerdictRef | None]) -> list[VerdictRef | None]:
    return [by_number.get(number) for number in range(max(by_number, default=-1) + 1)]
