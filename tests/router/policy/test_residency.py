"""Placement against a brute-force search over all paths, and the residency keywords."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.policy import ClassSettings
from config.words import Failover
from router.policy.model import ClassId
from router.policy.placement import Edge, Graph, Item, violations
from router.policy.residency import Means, Residency, Spot
from tests.oracle import policy_oracle as oracle
from tests.router.policy.policies import CLASSES, class_ids, class_settings, policy_of

NODES = ["a", "b", "c", "d", "e"]
means = st.sampled_from(Means)
arrows = st.tuples(st.sampled_from([None, *NODES]), st.sampled_from(NODES), means)
homes = st.sampled_from(oracle.DOMAINS)
spots = st.tuples(homes, st.sampled_from("12")).map(lambda found: Spot(f"{found[0]}-{found[1]}", found[0]))
policies = st.tuples(
    *[class_settings] * len(oracle.LEVELS), *[class_settings] * len(oracle.TAGS)
).map(
    lambda found: policy_of(
        {},
        dict(zip(oracle.LEVELS, found, strict=False)),
        dict(zip(oracle.TAGS, found[len(oracle.LEVELS) :], strict=True)),
    )
)


def may(policy, cls: ClassId, home: str, arrow, spots) -> bool:
    """The keywords spelt out."""
    source, target, how = arrow
    parts = [(policy.classes[CLASSES.levels[CLASSES.level(cls)]], CLASSES.level(cls) == 0)]
    parts += [(policy.tags[tag], False) for tag in CLASSES.tags_of(cls)]
    return all(part_may(given, lowest, home, how, spots.get(source), spots[target]) for given, lowest in parts)


def part_may(given: ClassSettings, lowest: bool, home: str, how: Means, source: Spot | None, target: Spot) -> bool:
    if how is Means.FAILOVER:
        everywhere = not given.replicas_in or "any" in given.replicas_in or target.domain in given.replicas_in
        if lowest and given.failover is None and everywhere:
            return True
        if source is None:
            return False
        same_region, same_domain = source.region == target.region, source.domain == target.domain
        return same_region if given.failover is Failover.REFUSE else same_domain
    written = {Means.BACKUP: given.backup_in, Means.LOG: given.logs_in}.get(how, given.replicas_in)
    if target.domain == home:
        return True
    return "any" in written or target.domain in written or (lowest and not written)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(arrows, max_size=9, unique=True),
    st.fixed_dictionaries(dict.fromkeys(NODES, spots)),
    policies,
    class_ids,
    homes,
)
def test_as_a_search_over_all_paths(edges, where, policy, cls, home):
    graph = Graph(spots=where)
    made = {arrow: Edge(*arrow, key=()) for arrow in edges}
    for arrow in edges:
        graph.add(made[arrow])
    data = Item(cls, home, "t", tuple(made[arrow] for arrow in edges if arrow[0] is None))
    found = list(violations(graph, Residency(policy, CLASSES), data))
    expected = oracle.forbidden(edges, {arrow: may(policy, cls, home, arrow, where) for arrow in edges})
    assert {(one.edge.source, one.edge.target, one.edge.means) for one in found} == expected
    assert len(found) == len(expected)
    for one in found:
        assert one.objections and one.path[0].source is None
        assert all(before.target == after.source for before, after in zip(one.path, one.path[1:], strict=False))


EU, EU2, US = Spot("eu", "eea"), Spot("eu-2", "eea"), Spot("us", "usa")


@pytest.mark.parametrize(
    ("given", "how", "source", "target", "allowed"),
    [
        (ClassSettings(), Means.REPLICA, EU, EU2, True),
        (ClassSettings(), Means.REPLICA, EU, US, False),
        (ClassSettings(replicas_in=("usa",)), Means.REFERENCE, None, US, True),
        (ClassSettings(replicas_in=("home",)), Means.REPLICA, EU, US, False),
        (ClassSettings(replicas_in=("any",)), Means.BACKUP, EU, US, False),
        (ClassSettings(backup_in=("any",)), Means.BACKUP, EU, US, True),
        (ClassSettings(logs_in=("usa",)), Means.LOG, None, US, True),
        (ClassSettings(), Means.FAILOVER, EU, EU2, True),
        (ClassSettings(replicas_in=("any",)), Means.FAILOVER, EU, US, False),
        (ClassSettings(failover=Failover.REFUSE), Means.FAILOVER, EU, EU2, False),
        (ClassSettings(failover=Failover.REFUSE), Means.FAILOVER, EU, EU, True),
    ],
)
def test_keywords(given, how, source, target, allowed):
    policy = policy_of({}, {**{name: ClassSettings() for name in oracle.LEVELS}, "personal": given})
    residency = Residency(policy, CLASSES)
    personal = CLASSES.named(("personal",))
    assert residency.allows(personal, "eea", how, source, target) == allowed
    assert residency.allows(0, "eea", how, source, target)


def test_a_tag_must_agree():
    personal = ClassSettings(replicas_in=("any",))
    policy = policy_of({}, {**{name: ClassSettings() for name in oracle.LEVELS}, "personal": personal})
    residency = Residency(policy, CLASSES)
    assert residency.allows(CLASSES.named(("personal",)), "eea", Means.REPLICA, EU, US)
    tagged = CLASSES.named(("personal", "geo"))
    assert residency.objections(tagged, "eea", Means.REPLICA, EU, US) == ("tags.geo.replicas_in",)
