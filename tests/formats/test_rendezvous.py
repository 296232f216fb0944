"""Rendezvous hashing: alike on both sides, even, and only the boxes of a lost relay move."""

import hashlib

from appliance.formats.rendezvous import choose_relays

RELAYS = [f"relay-{number}.example:443" for number in range(5)]
BOXES = [hashlib.sha256(bytes([number // 256, number % 256])).digest()[:16] for number in range(2000)]


def test_order_and_repetition_of_the_list_do_not_matter():
    for box in BOXES[:50]:
        assert choose_relays(box, RELAYS) == choose_relays(box, [*reversed(RELAYS), RELAYS[0]])


def test_boxes_spread_evenly():
    first = [choose_relays(box, RELAYS)[0] for box in BOXES]
    assert all(300 < first.count(relay) < 500 for relay in RELAYS)


def test_only_the_boxes_of_a_lost_relay_move_and_they_move_to_their_second():
    for box in BOXES:
        first, second = choose_relays(box, RELAYS)
        left = [relay for relay in RELAYS if relay != first]
        assert choose_relays(box, left)[0] == second
        other = next(relay for relay in RELAYS if relay not in (first, second))
        assert choose_relays(box, [relay for relay in RELAYS if relay != other]) == [first, second]


def test_fewer_relays_than_wanted_are_all_taken():
    assert choose_relays(BOXES[0], RELAYS[:1]) == RELAYS[:1]
    assert choose_relays(BOXES[0], []) == []
