"""The drivers' and frameworks' own tests, once on a server and once through Fairlead: each must come to the same, or be
a known difference (tests/cases/driver_suites.yaml) that docs/protocol.md explains."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.sqlserver import ACCOUNT_HOST, SERVICE_USER, SqlServer
from loadtest.world.world import World
from tests.clients.suites.outcomes import Outcomes, differing
from tests.clients.suites.running import DATABASES, PASSWORD, SUITES, USER, Run
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS, pytest.mark.slow, pytest.mark.timeout(3600)]
FEWEST_TESTS = 100
"""A suite that runs fewer has not been found, or could not connect."""


def _prepare(server: SqlServer) -> None:
    """Databases and, on the servers, rights to do whatever the suites do."""
    server.run(f"CREATE USER IF NOT EXISTS {USER}@'{ACCOUNT_HOST}' IDENTIFIED BY '{PASSWORD}'")
    for user in (USER, SERVICE_USER):
        server.run(f"GRANT ALL ON *.* TO {user}@'{ACCOUNT_HOST}' WITH GRANT OPTION")
    for name in DATABASES:
        server.run(f"CREATE DATABASE {name}")


def _through(world: World) -> Fairlead:
    certificate = world.server_certificate
    return world.fleet(
        {
            "keyspaces": {name: {"shards": ["eu-0"]} for name in DATABASES},
            "users": {USER: {"grants": [{"on": "*.*", "verbs": ["all", "admin"]}], "default_database": None}},
            "listeners": {"mysql": {"tls": {"cert": str(certificate.certificate), "key": str(certificate.key)}}},
        }
    )["eu"]


def _summary(name: str, direct: Outcomes, through: Outcomes, known: int) -> str:
    same = sum(through.get(test) is not None and through[test].kind == one.kind for test, one in direct.items())
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in direct.values()).most_common())
    return f"{name}: {len(direct)} tests ({kinds}), {same} with the same outcome, {known} known differences"


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_comes_to_the_same(world: World, flavour: str, name: str, tmp_path: Path) -> None:
    outcomes = []
    for server in (world.shards["eu-1"].primary, world.shards["eu-0"].primary):
        _prepare(server)
    for way, port in (("direct", world.shards["eu-1"].primary.port), ("through", _through(world).port)):
        folder = tmp_path / way
        folder.mkdir()
        outcomes.append(SUITES[name](Run(port, flavour, folder)))
    direct, through = outcomes
    found = list(differing(f"{name}-{flavour}", direct, through))
    known = [one for one in found if one.known]
    print("\n" + "\n".join([_summary(f"{name} on {flavour}", direct, through, len(known)), *map(str, known)]))
    unexplained = [str(one) for one in found if not one.known]
    assert not unexplained, "\n".join(unexplained)
    assert len(direct) >= FEWEST_TESTS
