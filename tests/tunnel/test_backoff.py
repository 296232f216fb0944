"""Waiting before dialling again: it grows, it is capped, it is spread."""

from __future__ import annotations

from appliance.tunnel.backoff import Backoff


def test_the_wait_doubles_up_to_the_cap() -> None:
    backoff = Backoff(first_s=1.0, cap_s=60.0)
    assert [backoff.next_s(chance=1.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_jitter_is_full() -> None:
    backoff = Backoff(first_s=4.0, cap_s=60.0)
    assert backoff.next_s(chance=0.0) == 0.0


def test_a_session_that_was_accepted_starts_it_over() -> None:
    backoff = Backoff(first_s=1.0, cap_s=60.0)
    for _ in range(5):
        backoff.next_s(chance=1.0)
    backoff.succeeded()
    assert backoff.next_s(chance=1.0) == 1.0


def test_what_the_portal_asks_for_is_waited_and_capped() -> None:
    assert Backoff(first_s=1.0, cap_s=60.0).next_s(chance=0.5, at_least_s=5.0) == 5.5
    assert Backoff(first_s=1.0, cap_s=60.0).next_s(chance=0.0, at_least_s=1e9) == 60.0


def test_ten_thousand_failures_still_give_a_number() -> None:
    backoff = Backoff(first_s=1.0, cap_s=60.0)
    assert max(backoff.next_s(chance=1.0) for _ in range(10_000)) == 60.0
