"""What somebody else may have written into a LUKS2 header."""

import json

import pytest

from appliance.core.errors import Invalid
from appliance.disk_slot.header import Header


@pytest.mark.parametrize("number", [" 1", "01", "+1", "one", "1_0"])
def test_a_token_has_one_number_in_one_spelling(number: str) -> None:
    ours = {"type": "praxissafe-kit", "keyslots": [], "kit": "aa", "slot": 1}
    header = {"keyslots": {}, "tokens": {number: ours}}
    with pytest.raises(Invalid, match="luks_header"):
        Header(json.dumps(header).encode())
    assert Header(json.dumps({**header, "tokens": {"1": ours}}).encode()).ours[1].slot == 1
