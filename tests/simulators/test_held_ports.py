"""Boxes that start at the same moment do not share ports."""

import pytest

from tests.simulators.demo_box import PORTS, held_ports


def test_two_that_ask_at_the_same_moment_get_ports_of_their_own():
    with held_ports() as first, held_ports() as second:
        assert abs(second - first) >= PORTS
        with pytest.raises(RuntimeError), held_ports(first):
            pass
    with held_ports(first) as again:
        assert again == first
