"""A3: a link opens exactly its share, whatever else the attacker holds of the patient-facing process.

The attacker has captured gateway: every byte of the spool, all locators, all file names. The attacker also has one
link and its PIN, so vault's half for that link. Records' real code makes the world; the attacker tries every key
that can be had against every sealed byte, with every identifier in the associated data.
"""

import contextlib
from itertools import product

import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.contracts.records import CreateShare
from appliance.core.errors import PraxisError
from appliance.formats.envelope import DocumentOpener
from appliance.formats.share_link import derive, manifest_key, parse_secret
from appliance.formats.share_manifest import open_manifest, parse_key
from tests.records.bench import PDF, records_process
from tests.simulators.vault_peer import vault_peer

LENGTHS = (1, 4000)


@pytest_asyncio.fixture
async def world(tmp_path):
    async with vault_peer(tmp_path) as vault, records_process(tmp_path, vault.peer, vault.log_in()) as bench:
        yield bench, vault


@st.composite
def practices(draw):
    """N patients with M documents each, and K links: (patient, which of the documents)."""
    patients = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    choice = st.integers(0, len(patients) - 1).flatmap(
        lambda patient: st.tuples(
            st.just(patient), st.sets(st.integers(0, patients[patient] - 1), min_size=1, max_size=3)
        )
    )
    return patients, draw(st.lists(choice, min_size=1, max_size=4)), draw(st.integers(0, 3))


class CapturedGateway:
    """Everything under the spool, and what follows from it."""

    def __init__(self, spool):
        folders = [folder for folder in spool.iterdir() if folder.is_dir()]
        self.manifests = {folder.name: (folder / "manifest").read_bytes() for folder in folders}
        files = [file for folder in folders for file in folder.iterdir() if file.name != "manifest"]
        self.sealed = {file.read_bytes() for file in files}
        self.names = {folder.name for folder in folders} | {file.name for file in files}

    def open_with(self, keys, release, box, expiries, identifiers):
        """Give the contents that open with a link's keys, all that is derivable, and every identifier."""
        raw = {keys.wrap_key, keys.proof, release, manifest_key(keys.wrap_key, release)}
        entries = []
        for (locator, manifest), key, expires_at in product(self.manifests.items(), list(raw), expiries):
            with contextlib.suppress(PraxisError):
                entries += open_manifest(manifest, key, box, locator, expires_at).documents
        raw |= {parse_key(entry.key) for entry in entries}
        lengths = {entry.length for entry in entries} | set(LENGTHS)
        opened = set()
        for sealed, key, identifier, length in product(self.sealed, raw, identifiers, lengths):
            with contextlib.suppress(PraxisError):
                opener = DocumentOpener(key, box, bytes.fromhex(identifier), length)
                opened.add(opener.open(sealed) + opener.finish())
        return opened


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(practices())
async def test_a_link_and_a_captured_gateway_open_exactly_the_share(world, practice):
    bench, vault = world
    sizes, links, chosen = practice
    contents, documents = {}, []
    for number, count in enumerate(sizes):
        patient = await bench.add_patient(f"Patient{number}")
        kept = []
        for _ in range(count):
            content = PDF.ljust(LENGTHS[-1], b"%") + len(contents).to_bytes(4, "big") + patient.encode()
            added = await bench.add(content, patient=patient)
            contents[added.document] = content
            kept.append(added.document)
        documents.append((patient, kept))
    made = []
    for owner, picked in links:
        patient, kept = documents[owner]
        wanted = [kept[index] for index in sorted(picked)]
        share = await bench.ask(CreateShare, patient=patient, documents=wanted)
        made.append((share, {contents[document] for document in wanted}))
    share, allowed = made[chosen % len(made)]
    keys = derive(parse_secret(share.link.split("#")[1]))
    captured = CapturedGateway(bench.state / "spool")
    opened = captured.open_with(
        keys,
        vault.find(keys.proof).r,
        bytes.fromhex(vault.box),
        {made_share.expires_at for made_share, _ in made},
        set(contents) | captured.names,
    )
    lengths_right = {content for content in opened if content in contents.values()}
    assert lengths_right == allowed, "the link opens its documents and no other"
    assert opened == allowed


async def test_the_spool_without_a_link_opens_nothing(world):
    """Vault's halves of all shares and the whole spool, but no S: nothing opens."""
    bench, vault = world
    patient = await bench.add_patient()
    added = await bench.add(PDF + b"geheim", patient=patient)
    share = await bench.ask(CreateShare, patient=patient, documents=[added.document])
    keys = derive(parse_secret(share.link.split("#")[1]))
    release = vault.find(keys.proof).r
    captured = CapturedGateway(bench.state / "spool")
    stranger = derive(bytes(32))
    expiries, box = {share.expires_at}, bytes.fromhex(vault.box)
    assert captured.open_with(stranger, release, box, expiries, {added.document}) == set()


async def test_a_link_without_vault_s_half_opens_nothing(world):
    bench, vault = world
    patient = await bench.add_patient()
    added = await bench.add(PDF + b"geheim", patient=patient)
    share = await bench.ask(CreateShare, patient=patient, documents=[added.document])
    keys = derive(parse_secret(share.link.split("#")[1]))
    captured = CapturedGateway(bench.state / "spool")
    box = bytes.fromhex(vault.box)
    assert captured.open_with(keys, bytes(32), box, {share.expires_at}, {added.document}) == set()
