from __future__ import annotations

import pytest

from appliance.certificate.schedule import MAX_RETRY_AFTER_S, renew_at, retry_after_s, wait_s

DAY = 86400


@pytest.mark.parametrize("days", [6, 7, 90])
def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left_and_not_all_boxes_at_once(days: int) -> None:
    begin, end = 1000 * DAY, (1000 + days) * DAY
    early, late = renew_at(begin, end, 0.0), renew_at(begin, end, 0.999)
    assert early == begin + days * DAY * 2 // 3
    assert early < late < end - days * DAY // 4


def test_waits_grow_to_their_cap_and_are_never_nothing() -> None:
    least = [wait_s(failures, 60, 21600, 0.0, 0.0) for failures in range(1, 40)]
    assert least[:3] == [30, 60, 120]
    assert least == sorted(least)
    assert max(wait_s(failures, 60, 21600, 0.999, 0.0) for failures in range(1, 2000)) <= 21600
    assert wait_s(1, 60, 21600, 0.0, 7200) == 7230


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("120", 120),
        ("-5", 0),
        ("soon", 0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("99999999999999999999", MAX_RETRY_AFTER_S),
        ("²", 0),
    ],
    ids=["none", "seconds", "negative", "words", "date", "date that is over", "for ever", "not ASCII"],
)
def test_retry_after_is_read_as_rfc_9110_has_it(header: str, seconds: float) -> None:
    assert retry_after_s(header, 100.0) == seconds
