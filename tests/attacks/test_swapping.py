"""A4: a link of practice A used at practice B, a share's parts used at another share: nothing opens.

Two boxes run at once, each behind a portal of its own; every part of one is offered to the other.
"""

import contextlib
import itertools
import ssl

import pytest

from appliance.core.errors import PraxisError
from appliance.formats.envelope import DocumentOpener
from appliance.formats.share_link import manifest_key
from appliance.formats.share_manifest import open_manifest, parse_key
from tests.simulators.demo_box import DemoBox, running_box
from tests.simulators.patient import Patient, from_base64url
from tests.simulators.staff import Staff, staff_of

CONSTANT = (404, b'{"state":"unknown"}')


@pytest.fixture(scope="module")
def other_box():
    with running_box() as started:
        yield started


class Opened:
    """All that the rightful holder of one share has."""

    def __init__(self, link, pin, keys, box, release, expires_at, manifest, documents, sealed):
        self.link, self.pin, self.keys, self.box, self.release = link, pin, keys, box, release
        self.expires_at, self.manifest, self.documents, self.sealed = expires_at, manifest, documents, sealed


async def opened_share(box: DemoBox, staff: Staff, name: str) -> Opened:
    patient = await staff.create_patient(name)
    await staff.upload(patient, f"Befund von {name}".encode() * 50)
    link, pin = await staff.share(patient)
    async with Patient(link, box.portal_ca) as holder:
        answer = (await holder.offer(pin)).json()
        documents = [document for document, _ in await holder.open_documents(pin)]
        return Opened(
            link,
            pin,
            holder.keys,
            bytes.fromhex(answer["box"]),
            from_base64url(answer["r"]),
            answer["expires_at"],
            (await holder.manifest()).body,
            documents,
            [(await holder.sealed(one.file)).body for one in documents],
        )


async def test_no_part_of_one_share_fits_another(box: DemoBox, other_box: DemoBox, staff: Staff):
    """Every combination of (link keys, r, box, locator, expiry, manifest) but the three rightful ones is refused."""
    async with staff_of(other_box) as other_staff:
        shares = [
            await opened_share(box, staff, "Tauscheins"),
            await opened_share(box, staff, "Tauschzwei"),
            await opened_share(other_box, other_staff, "Tauschdrei"),
        ]
    assert shares[0].box == shares[1].box != shares[2].box
    opened = 0
    for keys, release, box_, locator, manifest in itertools.product(shares, repeat=5):
        rightful = {id(keys), id(release), id(locator), id(manifest)}
        with contextlib.suppress(PraxisError):
            found = open_manifest(
                manifest.manifest,
                manifest_key(keys.keys.wrap_key, release.release),
                box_.box,
                locator.keys.locator,
                manifest.expires_at,
            )
            opened += 1
            assert len(rightful) == 1, "a part of another share opened a manifest"
            assert box_.box == keys.box, "another box's identifier opened a manifest"
            assert [one.id for one in found.documents] == [one.id for one in manifest.documents]
    assert opened == 5, "each share by itself; the two of one box also with each other's (equal) box identifier"


async def test_another_expiry_opens_no_manifest(box: DemoBox, staff: Staff):
    share = await opened_share(box, staff, "Frist")
    key = manifest_key(share.keys.wrap_key, share.release)
    assert open_manifest(share.manifest, key, share.box, share.keys.locator, share.expires_at)
    for expires_at in (share.expires_at - 1, share.expires_at + 1, share.expires_at + 86400):
        with pytest.raises(PraxisError):
            open_manifest(share.manifest, key, share.box, share.keys.locator, expires_at)


async def test_a_document_opens_only_as_itself_and_on_its_box(box: DemoBox, staff: Staff):
    first, second = await opened_share(box, staff, "Selbsteins"), await opened_share(box, staff, "Selbstzwei")

    def attempt(key, box_id, document_id, length, sealed):
        opener = DocumentOpener(key, box_id, document_id, length)
        return opener.open(sealed) + opener.finish()

    (one,), (two,) = first.documents, second.documents
    key, own = parse_key(one.key), bytes.fromhex(one.id)
    assert attempt(key, first.box, own, one.length, first.sealed[0])
    for box_id, document_id, sealed in (
        (bytes(16), own, first.sealed[0]),
        (first.box, bytes.fromhex(two.id), first.sealed[0]),
        (first.box, own, second.sealed[0]),
    ):
        with pytest.raises(PraxisError):
            attempt(key, box_id, document_id, one.length, sealed)


async def test_a_link_of_one_practice_is_unknown_at_another(box: DemoBox, other_box: DemoBox, staff: Staff):
    share = await opened_share(box, staff, "Fremd")
    at_other = other_box.patient_link.split("#")[0] + "#" + share.link.split("#")[1]
    async with Patient(at_other, other_box.portal_ca) as holder:
        for answer in (await holder.state(), await holder.offer(share.pin), await holder.manifest()):
            assert (answer.status, answer.body) == CONSTANT
        for document in share.documents:
            answer = await holder.sealed(document.file)
            assert (answer.status, answer.body) == CONSTANT


async def test_a_file_of_one_share_is_absent_in_another(box: DemoBox, staff: Staff):
    first, second = await opened_share(box, staff, "Dateieins"), await opened_share(box, staff, "Dateizwei")
    async with Patient(first.link, box.portal_ca) as holder:
        answer = await holder.sealed(second.documents[0].file)
        assert (answer.status, answer.body) == CONSTANT


async def test_a_foreign_host_name_gets_the_constant_answer_on_the_right_connection(box: DemoBox, other_box: DemoBox):
    """SNI of A, Host of B: the connection is A's, the question is foreign."""
    async with Patient(box.patient_link, box.portal_ca) as holder:
        for host in (other_box.said["page_host"], "localhost", "127.0.0.1", other_box.said["lan_host"], "a.example"):
            answer = await holder.ask("GET", "/", headers={"Host": host})
            assert (answer.status, answer.body) == CONSTANT
        assert (await holder.ask("GET", "/")).status == 200


async def test_the_portal_of_one_box_does_not_route_to_another(box: DemoBox, other_box: DemoBox):
    """B's name at A's portal is cut off before any byte of a page."""
    context = ssl.create_default_context(cafile=str(other_box.portal_ca))
    link = f"https://{other_box.said['page_host']}:{box.port_base + 1}/"
    async with Patient(link, other_box.portal_ca) as stranger:
        assert context.verify_mode == ssl.CERT_REQUIRED
        with pytest.raises(Exception, match=r"(?i)disconnected|reset|cannot connect"):
            await stranger.ask("GET", "/")
