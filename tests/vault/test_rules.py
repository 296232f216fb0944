"""The pure rules: shares against a model, codes, slow-down, clock."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.core.errors import NotFound
from appliance.vault import shares
from appliance.vault.clock import Clock
from appliance.vault.codes import ALPHABET, code_matches, code_verifier, format_code
from appliance.vault.shares import NEXT, TOMBSTONE_S, TRIES, UNPUBLISHED_S, Share
from appliance.vault.slow_down import FREE_ATTEMPTS, LONGEST_WAIT_S, MAX_NAMES, SlowDown

RIGHT, WRONG = b"right" * 6, b"wrong" * 6
VALID_S = 1000


class ShareModel(RuleBasedStateMachine):
    """One share under any order of acts, crashes and waits, against a model that only counts."""

    def __init__(self):
        super().__init__()
        self.now = 10_000
        share = Share(
            share="a" * 32,
            proof_verifier=b"p" * 32,
            patient="0" * 32,
            documents=["d" * 32],
            made_by="5" * 32,
            made_at=self.now,
            expires_at=self.now + VALID_S,
            pin_verifier=RIGHT,
            pin="123456",
            r=b"r" * 32,
        )
        self.all = shares.add({}, share)
        self.published = self.ended = self.gone = False
        self.lost = self.right = 0  # tries lost for good, openings

    @property
    def share(self):
        return self.all["a" * 32]

    def apply(self, change):
        self.all = shares.put(self.all, change(self.share, self.now))

    @property
    def may_open(self):
        return self.published and not self.ended and self.lost < TRIES and self.now < 10_000 + VALID_S

    @precondition(lambda self: not self.gone)
    @rule()
    def publish(self):
        in_time = self.now < self.share.expires_at
        self.apply(shares.publish)
        self.published = self.published or (in_time and not self.ended)

    @precondition(lambda self: not self.gone)
    @rule(pin=st.sampled_from([RIGHT, WRONG]), crash=st.booleans(), revoked_meanwhile=st.booleans())
    def open(self, pin, crash, revoked_meanwhile):
        may_open = self.may_open
        try:
            found = shares.find(self.all, b"p" * 32)
        except NotFound:
            assert not may_open
            return
        self.apply(shares.take_try)
        assert (self.share.stage == "open") == may_open
        if not may_open:
            assert self.share.r is None
            return
        assert self.share.tries_left == found.tries_left - 1
        if crash:
            self.lost += 1
            return
        if pin == WRONG:
            assert not shares.pin_is_right(self.share, WRONG)
            self.apply(shares.count_wrong)
            self.lost += 1
            return
        assert shares.pin_is_right(self.share, RIGHT)
        if revoked_meanwhile:
            self.apply(shares.revoke)
            self.ended = True
        self.apply(shares.give_back_try)
        assert (self.share.r is not None) == (not revoked_meanwhile)
        self.right += not revoked_meanwhile

    @precondition(lambda self: not self.gone)
    @rule()
    def revoke(self):
        self.apply(shares.revoke)
        self.ended = True

    @rule(seconds=st.sampled_from([1, 300, VALID_S, UNPUBLISHED_S, TOMBSTONE_S]))
    def wait(self, seconds):
        self.now += seconds

    @rule(starting=st.booleans())
    def settle(self, starting):
        self.all = shares.settle(self.all, self.now, starting=starting)
        self.gone = self.gone or not self.all
        if not self.gone and self.now >= 10_000 + VALID_S:
            assert self.share.r is None

    @invariant()
    def counts_agree(self):
        if self.gone:
            assert self.all == {}
            return
        assert self.share.opened == self.right
        if self.share.stage == "open":
            assert self.share.tries_left == TRIES - self.lost
        if self.share.stage not in ("made", "open"):
            assert (self.share.r, self.share.pin, self.share.pin_verifier) == (None, None, None)


TestShareModel = ShareModel.TestCase
TestShareModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_no_end_leads_anywhere():
    assert {stage for stage, _ in NEXT} == {"made", "open"}
    assert set(NEXT.values()) == {"open", "expired", "revoked", "closed"}


@given(st.binary(min_size=13, max_size=13), st.binary(min_size=13, max_size=13))
@settings(max_examples=50, deadline=None)
def test_codes_are_read_as_written_and_hold_100_bits(one, other):
    code = format_code(one)
    assert len(code) == 23
    assert set(code) <= {*ALPHABET, "-"}
    assert code_matches(code.lower().replace("-", ""), code_verifier(code))
    same_bits = int.from_bytes(one, "big") >> 4 == int.from_bytes(other, "big") >> 4
    assert code_matches(format_code(other), code_verifier(code)) == same_bits


def test_slow_down_charges_before_it_knows_and_caps_the_wait():
    slow = SlowDown()
    assert [slow.charge("ada", 0) for _ in range(FREE_ATTEMPTS)] == [0] * FREE_ATTEMPTS
    now = 0
    for expected in (1, 2, 4, 8, 16, 32, LONGEST_WAIT_S, LONGEST_WAIT_S):
        assert slow.charge("ada", now) == expected
        now += expected
        assert slow.charge("ada", now) == 0
    slow.forgive("ada")
    assert slow.charge("ada", now) == 0


def test_slow_down_forgets_the_least_recently_tried():
    slow = SlowDown()
    for number in range(MAX_NAMES + 50):
        slow.charge(str(number), 0)
    assert len(slow._wrong) == MAX_NAMES


def test_clock_set_back_goes_on_from_where_it_was():
    wall, steady = [1000.0], [0.0]
    clock = Clock(lambda: wall[0], lambda: steady[0])
    assert clock.now() == 1000
    wall[0] = 10.0
    steady[0] += 50
    assert clock.now() == 1050
    clock.raise_to(5000)
    steady[0] += 5
    assert clock.now() == 5005
    clock.raise_to(100)
    assert clock.now() == 5005


@pytest.mark.parametrize("starting", [False, True])
def test_settling_without_news_gives_the_same_object(starting):
    nothing = {}
    assert shares.settle(nothing, 0, starting=starting) is nothing
