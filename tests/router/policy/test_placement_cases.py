"""Illegal placements: the cases of tests/cases/policy/placement.yaml, with the whole text of their mistakes."""

from __future__ import annotations

import pytest
import yaml

from config.errors import ConfigError
from router.policy.compiled import build
from router.policy.placement import mistakes
from router.topology import Topology
from tests.router.policy.worlds import CASES, world

PLACEMENTS = yaml.safe_load((CASES / "placement.yaml").read_text())


@pytest.mark.parametrize("case", PLACEMENTS, ids=lambda case: case["name"])
def test_placement(case, tmp_path):
    settings = world(tmp_path, case.get("set"))
    found = mistakes(settings, Topology.build(settings))
    told = [[one.key, one.message, one.hint] for one in found]
    assert sorted(told) == sorted(case["mistakes"])
    assert all(one.file == tmp_path / "fairlead.yaml" and one.line for one in found)


def test_what_is_illegal_is_not_put_in_force(tmp_path):
    settings = world(tmp_path, {"policy.labels.shop.tables.countries": "internal"})
    with pytest.raises(ConfigError):
        build(settings, Topology.build(settings))


@pytest.mark.parametrize("region", ["eu", "eu-2", "us"])
def test_it_is_the_same_from_every_region(tmp_path, region):
    change = {"shards.eu-0.replicas": [{"address": "r:1", "region": "us"}]}
    account = {"user": "f", "password": {"value": "x"}}
    change |= {f"shards.{name}.account": account for name in ("eu-1", "us-0")}
    settings = world(tmp_path, change, region=region)
    assert len(mistakes(settings, Topology.build(settings))) == 1
