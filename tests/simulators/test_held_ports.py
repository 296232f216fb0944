"""Boxes that start at the same moment do not share ports."""

from tests.simulators.demo_box import PORTS, held_ports


def test_two_that_ask_at_the_same_moment_get_ports_of_their_own():
    with held_ports() as first, held_ports() as second:
        assert abs(second - first) >= PORTS
    with held_ports() as again:
        assert again == first
