"""The laws of the lattice of classes, and its names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.classes import Classes

lattices = st.builds(
    Classes,
    st.integers(2, 6).map(lambda count: tuple(f"c{number}" for number in range(count))),
    st.integers(0, 4).map(lambda count: tuple(f"t{number}" for number in range(count))),
)
points = st.data()


def draw(data, classes):
    return data.draw(st.integers(0, classes.top))


@given(lattices, points)
def test_a_join_semilattice_with_bottom_and_top(classes, data):
    a, b, c = (draw(data, classes) for _ in range(3))
    assert classes.join(a, b) == classes.join(b, a)
    assert classes.join(a, classes.join(b, c)) == classes.join(classes.join(a, b), c)
    assert classes.join(a, a) == a
    assert classes.join(a, classes.bottom) == a and classes.join(a, classes.top) == classes.top
    assert 0 <= classes.join(a, b) < len(classes)


@given(lattices, points)
def test_dominance_is_the_order_of_the_join(classes, data):
    a, b, c = (draw(data, classes) for _ in range(3))
    higher = classes.level(a) >= classes.level(b) and set(classes.tags_of(a)) >= set(classes.tags_of(b))
    assert classes.dominates(a, b) == higher
    assert classes.dominates(classes.join(a, b), a)
    if classes.dominates(c, a) and classes.dominates(c, b):
        assert classes.dominates(c, classes.join(a, b))
    if classes.dominates(a, b) and classes.dominates(b, a):
        assert a == b


@given(lattices)
def test_names_lead_back(classes):
    for cls in classes:
        assert classes.named(classes.name(cls).split("+")) == cls


def test_components():
    classes = Classes(("public", "personal"), ("health", "geo"))
    assert classes.components(0) == ()
    assert classes.components(classes.named(("public", "geo"))) == ("geo",)
    assert classes.components(classes.top) == ("personal", "health", "geo")
    assert classes.named(("health",)) == classes.named(("personal", "health"))
    with pytest.raises(KeyError):
        classes.named(("persnal",))
