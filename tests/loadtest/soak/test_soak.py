"""The soak, short: on haproxy, which pools nothing and so must be found without fault, and on Fairlead."""

import pytest

from loadtest.soak.run import Plan, run
from loadtest.world.mariadb import program
from loadtest.world.sqlserver import ServerMissing
from tests.servers import absent

pytestmark = pytest.mark.servers


@pytest.fixture(autouse=True)
def servers_are_there() -> None:
    try:
        program()
    except ServerMissing as missing:
        absent("mariadb", missing)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan(clients=40, seconds=5, target="haproxy"), id="haproxy"),
        # Few clients, and a server's connections are lost as often as with many: more of them must die.
        pytest.param(Plan(clients=100, seconds=10, kill_part=0.2), id="fairlead"),
    ],
)
def test_soak(plan: Plan) -> None:
    outcome = run(plan, print)
    broken = [f"{verdict.promise}: {verdict.found}" for verdict in outcome.verdicts if verdict.ok is False]
    assert broken == [], outcome.evidence.journal.lines
