"""A2: what leaves is copied field by field; a whole object is never serialised. A7: the verbs are a fixed set."""

import json
import secrets
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.contracts.vault import PatientView
from appliance.gateway.routes import Routes, state_answer
from tests.simulators.demo_box import DemoBox
from tests.simulators.patient import Patient
from tests.simulators.staff import Staff, other_pin

SNAPSHOTS = Path(__file__).parent / "snapshots"
CONSTANT = (404, b'{"state":"unknown"}')


def snapshot(name: str):
    return json.loads((SNAPSHOTS / f"{name}.json").read_text())


# --- A2 --------------------------------------------------------------------------------------------------------


async def test_every_answer_of_the_gateway_has_exactly_the_fields_we_decided_on(box: DemoBox, staff: Staff):
    patient = await staff.create_patient("Schema")
    await staff.upload(patient, b"geheim")
    link, pin = await staff.share(patient)
    seen = {}
    async with Patient(link, box.portal_ca) as holder:
        for name, answer in (
            ("state", await holder.state()),
            ("open_wrong", await holder.offer(other_pin(pin))),
            ("open_right", await holder.offer(pin)),
            ("unknown", await holder.state(secrets.token_bytes(32))),
        ):
            seen[name] = sorted(answer.json())
        await staff.revoke(patient)
        seen["open_revoked"] = sorted((await holder.offer(pin)).json())
    assert seen == snapshot("gateway_answers")


def test_what_vault_gives_is_a_closed_structure():
    """A field added to what vault tells gateway is seen here before it is seen anywhere else."""
    assert [field.name for field in msgspec.structs.fields(PatientView)] == snapshot("patient_view")
    view = PatientView(
        state="open", tries_left=5, practice_name="P", telephone="1", box="0" * 32, expires_at=1, r=bytes(32)
    )
    assert sorted(json.loads(state_answer(view).body)) == sorted(snapshot("gateway_answers")["state"])


async def test_the_intake_answers_with_two_identifiers_or_a_problem(box: DemoBox, staff: Staff):
    page = await staff.open("/devices")
    page = await staff.browser.send(page.form_to("/devices/new"), {"label": "Schema-Software"})
    token = page.by_id["device-token"]
    await staff.create_patient("Schemaintake", birth_date="01.01.1970")
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "text/plain",
        "Praxis-Kind": "lab",
        "Praxis-Name": "labor.txt",
        "Praxis-Patient-Family-Name": "Schemaintake",
        "Praxis-Patient-Given-Name": "Erika",
        "Praxis-Patient-Birth-Date": "1970-01-01",
        "Idempotency-Key": f'"{secrets.token_hex(8)}"',
    }
    url = f"{staff.url.rstrip('/')}/intake/v1/documents"
    session, trust = staff.browser._session, staff.browser._trust
    seen = {}
    for name, changed in (
        ("added", {}),
        ("repeated", {}),
        ("unknown_patient", {"Praxis-Patient-Family-Name": "Niemand", "Idempotency-Key": '"other"'}),
        ("no_token", {"Authorization": "Bearer " + "x" * 43}),
    ):
        async with session.put(url, data=b"Kalium 4,1", headers=headers | changed, ssl=trust, cookies={}) as answer:
            seen[name] = [answer.status, sorted(await answer.json(content_type=None))]
    assert seen == snapshot("intake_answers")


# --- A7 --------------------------------------------------------------------------------------------------------


def test_gateway_cannot_list_documents():
    """The table of questions is the one we decided on: none lists, none takes a query."""
    routes = Routes.__new__(Routes)
    Routes.__init__(routes, None, {"/": None}, None, None, vault_timeout_s=1, stall_timeout_s=1)
    asked = sorted(f"{method} {path}" for method, path in routes._table if path != "/")
    assert asked == snapshot("gateway_questions")


WORDS = st.sampled_from(
    [
        "share",
        "manifest",
        "document",
        "api",
        "open",
        "state",
        "list",
        "search",
        "patients",
        "..",
        "%2e%2e",
        "*",
        "'--",
        "$",
        "[*]",
        "{patients{name}}",
        "graphql",
        "_search",
        "?q=1",
        "?limit=100",
        "0" * 32,
        "assets",
        "spool",
    ]
)
PATHS = st.lists(WORDS, min_size=1, max_size=4).map(lambda words: "/" + "/".join(words))
BODIES = st.one_of(
    st.none(),
    st.binary(max_size=200),
    st.sampled_from([b"SELECT * FROM documents", b'{"query":"{patients{name}}"}', b'{"proof":{"$ne":""}}', b"[]"]),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PROPFIND", "SEARCH"]), path=PATHS, body=BODIES)
async def test_whatever_else_is_asked_gets_the_one_constant_answer(box: DemoBox, method, path, body):
    async with Patient(box.patient_link, box.portal_ca) as stranger:
        answer = await stranger.ask(method, path, data=body, headers={"Content-Type": "application/json"})
    if method == "GET" and answer.headers.get("Content-Type", "").startswith(("text/", "image/")):
        assert path.startswith(("/assets/", "/?")), "only the page's own files"
        return
    assert (answer.status, answer.body) == CONSTANT


@pytest.mark.parametrize("path", ["/share/list", "/share/", "/share", "/spool", "/api/list", "/assets/", "/assets"])
async def test_no_path_is_a_directory(box: DemoBox, path):
    async with Patient(box.patient_link, box.portal_ca) as stranger:
        assert (await stranger.ask("GET", path)).body == CONSTANT[1]
