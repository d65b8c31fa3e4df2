"""What proc(5) says about this very process."""

import os

from ops.process import usage


def test_use_of_this_process() -> None:
    mine = usage(os.getpid())
    assert mine is not None
    assert 1 << 20 < mine.resident_bytes < 1 << 34
    assert mine.cpu_seconds > 0
    times = os.times()
    assert abs(mine.cpu_seconds - times.user - times.system) < 0.5
    assert mine.descriptors is not None and abs(mine.descriptors - len(os.listdir("/proc/self/fd"))) <= 8


def test_a_process_that_is_gone() -> None:
    assert usage(0) is None
    assert usage(2**22 + 1) is None
