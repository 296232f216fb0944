"""What stands before every page: host, origin, CSRF token, session, headers; and what a failure looks like."""

import asyncio
import re
import socket
import ssl
from urllib.parse import quote

import pytest

from appliance.practice import headers
from appliance.practice.guard import FOREIGN_HOST
from appliance.practice.routes import make_application
from tests.practice.bench import PASSWORD, TOKEN

PAGES = (
    "/patients",
    "/patients/new",
    "/shares",
    "/history",
    "/staff",
    "/devices",
    "/password",
    "/status",
    "/status/internet",
    "/status/page-key",
    "/lock",
    "/unlocking",
    "/backup",
    "/backup/store",
    "/restore",
    "/shares/earlier",
    "/shares/earlier/print",
)


async def test_post_without_csrf_token_is_refused(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    await browser.open("/patients/new")
    good, person = browser.csrf, {"family_name": "A", "given_name": "B", "birth_date": "1.1.1990"}
    posts = [
        "/patients/new",
        f"/patients/{patient}/edit",
        f"/patients/{patient}/delete",
        f"/patients/{patient}/shares",
    ]
    posts += [f"/documents/{patient}/delete", f"/shares/{patient}/link-printed", f"/shares/{patient}/pin-printed"]
    posts += [f"/shares/{patient}/revoke", "/staff/invite", f"/staff/{patient}/remove", "/devices/new"]
    posts += [f"/devices/{patient}/revoke", "/password", "/logout", "/lock"]
    posts += ["/unlocking", "/unlocking/accept", "/unlocking/pair", f"/unlocking/{patient}/remove"]
    posts += [f"/devices/{patient}/revoke", "/password", "/logout"]
    posts += ["/kit/new", "/kit/check", f"/kit/{patient}/print"]
    posts += ["/backup/start", "/backup/store", "/backup/forget", "/shares/earlier", "/shares/earlier/drop"]
    posts += [f"/restore/{step}" for step in ("sheets", "store", "generations", "start", "abandon")]
    posts += [
        "/status/internet",
        "/status/internet/remove",
        "/status/page-key/replace",
        "/status/page-key/acknowledge",
    ]
    for path in posts:
        for token in ("", "x" * len(good), good[:-1], good + "x"):
            browser.csrf = token
            answer = await browser.send(path, person, follow=False)
            assert (answer.status, answer.error) == (403, "csrf"), path
    for token in ("", "wrong"):
        browser.csrf = token
        answer = await browser.upload(patient, ("a.txt", b"text"))
        assert (answer.status, answer.error) == (403, "csrf")
    browser.csrf = good
    found = await browser.open("/patients")
    assert "Mustermann" in found.text  # nothing of it happened
    assert "0 Dokumente" in found.text


@pytest.mark.parametrize("path", ["/reset", "/reset/finish"])
async def test_what_needs_no_session_is_still_sent_by_our_own_pages_only(bench, path):
    stranger = await bench.browser()
    answer = await stranger.ask(
        "POST", path, data={"code": "A" * 20}, headers={"Origin": "https://elsewhere.example"}
    )
    assert (answer.status, answer.error) == (403, "origin")


async def test_every_post_route_is_tried_above(bench):
    """A new POST route must get its CSRF test: the claim above lists them all."""
    source = (await asyncio.to_thread(lambda: __import__("pathlib").Path(__file__).read_text())) + "/documents"
    for route in make_application(bench.desk).router.routes():
        if route.method == "POST":
            last = route.resource.canonical.rpartition("/")[2]
            assert f"/{last}" in source or f'"{last}"' in source, route.resource.canonical


async def test_token_of_another_session_is_refused(bench):
    first, second = await bench.claimed(), await bench.browser()
    await second.log_in()
    await second.open("/patients/new")
    stolen = second.csrf
    await first.open("/patients/new")
    assert stolen != first.csrf
    first.csrf = stolen
    assert (await first.send("/devices/new", {"label": "x"})).error == "csrf"


async def test_foreign_host_is_refused(bench):
    browser = await bench.claimed()
    for host in ("evil.example", "127.0.0.1", "localhost", "{host}.evil.example", "{host}:1", "{host}.", ""):
        for method, path in (
            ("GET", "/patients"),
            ("GET", "/nothing"),
            ("POST", "/login"),
            ("PUT", "/intake/v1/documents"),
        ):
            answer = await browser.ask(method, path, headers={"Host": host.format(host=bench.host)}, follow=False)
            assert (answer.status, answer.body) == (421, FOREIGN_HOST)


async def test_host_is_accepted_with_and_without_port(bench):
    browser = await bench.claimed()
    for host in (bench.host, f"{bench.host}:{bench.port}", bench.host.upper()):
        assert (await browser.open("/patients", headers={"Host": host})).status == 200


async def test_post_from_a_foreign_page_is_refused(bench):
    browser = await bench.claimed()
    await browser.open("/devices")
    for sent in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": browser.origin},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ):
        for path in ("/devices/new", "/login", "/claim", "/invitation"):
            answer = await browser.send(path, {"label": "x"}, headers=sent)
            assert (answer.status, answer.error) == (403, "origin")
    assert "Noch keine Praxissoftware" in (await browser.open("/devices")).text


async def test_own_origin_without_fetch_metadata_is_accepted(bench):
    browser = await bench.claimed()
    await browser.open("/devices")
    answer = await browser.send("/devices/new", {"label": "x"}, headers={"Origin": browser.origin})
    assert answer.by_id("device-token")


async def test_session_cookie_is_strict_secure_httponly(bench):
    browser = await bench.claimed()
    cookie = browser.cookies["__Host-session"]
    assert (cookie["samesite"], cookie["secure"], cookie["httponly"]) == ("Strict", True, True)
    assert (cookie["path"], cookie["domain"], cookie["max-age"], cookie["expires"]) == ("/", bench.host, "", "")
    sent = (await browser.send("/login", {"name": "Sabine Keller", "password": PASSWORD}, follow=False)).headers
    assert sent["Set-Cookie"].endswith("; HttpOnly; Path=/; SameSite=Strict; Secure")


async def test_device_token_opens_no_page(bench):
    browser, machine = await bench.claimed(), await bench.browser()
    patient = await browser.add_patient()
    await browser.open("/devices")
    token = await browser.device_token()
    machine.set_cookie("__Host-session", token)
    for path in (*PAGES, f"/patients/{patient}", f"/documents/{patient}/open"):
        for sent in ({}, {"Authorization": f"Bearer {token}"}):
            answer = await machine.open(path, headers=sent, follow=False)
            assert answer.status == 303
            assert answer.headers["Location"].startswith("/login?"), path
            assert b"Mustermann" not in answer.body


async def test_without_a_session_every_page_leads_to_the_login(bench):
    browser = await bench.claimed()
    patient, stranger = await browser.add_patient(), await bench.browser()
    for path in (*PAGES, f"/patients/{patient}", f"/shares/{patient}/pin"):
        answer = await stranger.open(path)
        assert "/login?next=" in answer.url
        assert "Mustermann" not in answer.text
    stranger.set_cookie("__Host-session", "A" * 43)
    assert "why=locked" in (await stranger.open("/patients")).url


async def test_a_page_left_alone_locks_and_says_so(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    seen = await browser.open(f"/patients/{patient}")
    seconds, target = re.match(r"(\d+); url=(.*)", seen.headers["Refresh"]).groups()
    assert 890 < int(seconds) < 920
    bench.clock.now += 300
    assert (await browser.open(target)).url.endswith(f"/patients/{patient}")  # another window was active
    bench.clock.now += 901
    locked = await browser.open(target)
    assert "zum Schutz gesperrt" in locked.text
    assert "__Host-session" not in browser.cookies
    await browser.open(f"/login?next=/patients/{patient}")
    answer = await browser.send(
        "/login", {"name": "Sabine Keller", "password": PASSWORD, "next": f"/patients/{patient}"}
    )
    assert answer.url.endswith(f"/patients/{patient}")


async def test_leaving_the_page_open_does_not_keep_the_session_alive(bench):
    browser = await bench.claimed()
    for _ in range(4):
        bench.clock.now += 400
        answer = await browser.open("/locked?next=/patients", follow=False)
    assert answer.headers["Location"].startswith("/login")


async def test_entry_made_while_locked_is_not_saved_and_says_so(bench):
    browser = await bench.claimed()
    await browser.open("/patients/new")
    bench.clock.now += 901
    answer = await browser.send("/patients/new", {"family_name": "A", "given_name": "B", "birth_date": "1.1.1990"})
    assert "nicht gespeichert" in answer.text


async def test_nobody_is_led_to_a_foreign_page(bench):
    browser = await bench.claimed()
    for back in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", "/\r\nevil: 1"):
        for path in ("/language/de", "/locked", "/login"):
            answer = await browser.ask("GET", path, params={"next": back}, follow=False)
            assert answer.headers.get("Location", "/") == "/"
            assert "evil" not in answer.text
        answer = await browser.send(
            "/login", {"name": "Sabine Keller", "password": PASSWORD, "next": back}, follow=False
        )
        assert answer.headers["Location"] == "/"


async def test_every_answer_has_its_headers(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    document = await browser.add_document(patient)
    share, _ = await browser.share(patient, document)
    paths = [*PAGES, "/", "/claim", "/login", "/invitation", "/nothing", "/static/style.css", "/lan-ca.crt"]
    paths += [f"/shares/{share}/link-sheet.pdf", f"/documents/{document}/open", f"/documents/{document}/download"]
    for path in paths:
        answer = await browser.open(path, follow=False)
        for name, value in headers.EVERY_ANSWER.items():
            if name == "Cache-Control":
                assert answer.headers[name] == ("no-cache" if "/static/" in path else "no-store"), path
            elif name != "Content-Security-Policy":
                assert answer.headers[name] == value, (path, name)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert policy == headers.PAGE_POLICY or not answer.headers["Content-Type"].startswith("text/html")


async def test_pages_hold_no_inline_script_or_style(bench):
    browser = await bench.claimed()
    await browser.add_document(await browser.add_patient())
    for path in PAGES:
        await browser.open(path)
    for answer in bench.answers:
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?! src=\"/static/)", answer.text)


async def test_what_staff_type_is_escaped_everywhere(bench):
    browser, evil = await bench.claimed(), '"><script>alert(1)</script>'
    patient = await browser.add_patient(family=evil, given=evil)
    document = await browser.add_document(patient, name=f"{evil[:20]}.pdf", title=evil)
    await browser.share(patient, document)
    for path in (
        f"/patients?text={evil}",
        f"/patients/{patient}",
        "/shares",
        "/history",
        f"/documents/{document}/delete",
    ):
        answer = await browser.open(path)
        assert answer.status == 200
        assert "<script>" not in answer.text
        assert "&lt;script&gt;" in answer.text


async def test_older_tls_is_refused(bench):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bench.desk.certificate.authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def dial():
        with socket.create_connection(("127.0.0.1", bench.port)) as sock, pytest.raises(ssl.SSLError):
            context.wrap_socket(sock, server_hostname=bench.host)

    await asyncio.to_thread(dial)


async def test_what_is_no_http_gets_a_constant(bench):
    context = ssl.create_default_context(cafile=str(bench.desk.certificate.authority))
    for sent in (
        b"\x00\xff canary \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"c" * 9000,
    ):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", bench.port, ssl=context, server_hostname=bench.host
        )
        writer.write(sent)
        writer.write_eof() if writer.can_write_eof() else None
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 421", b"HTTP/1.0 400"))
        assert b"canary" not in answer
        assert b"aiohttp" not in answer.lower()
        writer.close()


async def test_a_peer_that_is_away_gives_a_page_that_comes_back_by_itself(bench):
    browser = await bench.claimed()
    await bench.take_away("records")
    answer = await browser.open("/patients")
    assert (answer.status, answer.error, answer.headers["Refresh"]) == (503, "peer_away", "5")
    assert "startet gerade neu" in answer.text
    posted = await browser.send(
        "/patients/new", {"family_name": "Vogel", "given_name": "B", "birth_date": "1.1.1990"}
    )
    assert posted.status == 503
    assert 'value="Vogel"' in posted.text  # what was typed stays
    assert "Refresh" not in posted.headers or "locked" in posted.headers["Refresh"]
    await bench.take_away("vault")
    assert (await browser.open("/patients")).status == 503
    assert (await browser.open("/login")).status in (200, 503)


async def test_unknown_pages_and_methods_say_so(bench):
    browser = await bench.claimed()
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/patients/xyz", 404),
        ("GET", "/patients/" + "0" * 32, 404),
        ("GET", "/static/../settings.py", 404),
        ("GET", "/static/..%2fsettings.py", 404),
        ("DELETE", "/patients", 405),
        ("PUT", "/patients", 405),
    ):
        answer = await browser.ask(method, path)
        assert answer.status == status, path
        assert answer.error in {"page", "patient", "method"}


async def test_forms_are_capped(bench):
    browser = await bench.claimed()
    await browser.open("/devices")
    answer = await browser.send("/devices/new", {"label": "x" * 100_000})
    assert (answer.status, answer.error) == (422, "form")
    answer = await browser.send("/devices/new", {"label": "x" * 121})
    assert (answer.status, answer.error) == (422, "field_long")


async def test_log_out_ends_the_session_everywhere(bench):
    browser, copy = await bench.claimed(), await bench.browser()
    copy.set_cookie("__Host-session", browser.cookies["__Host-session"].value)
    assert (await copy.open("/patients")).status == 200
    answer = await browser.send("/logout")
    assert "abgemeldet" in answer.text
    assert "/login" in (await copy.open("/patients")).url
    assert not TOKEN.search((await copy.open("/patients")).text)


async def test_a_peer_that_never_comes_back_ends_the_process(bench):
    """systemd starts it again with the new sockets; one that comes back in time is simply redialled."""
    watching = asyncio.create_task(bench.desk.peers.watch(0.0))
    browser = await bench.claimed()
    assert not watching.done()
    await bench.take_away("records")
    await browser.open("/patients")
    with pytest.raises(BaseExceptionGroup) as failure:
        await asyncio.wait_for(watching, 10)
    assert [error.code for error in failure.value.exceptions] == ["peer_away"]


NASTY = (
    "",
    " ",
    "\0",
    "\ud800",
    "ä" * 5000,
    "../../etc/passwd",
    "%ff",
    "{{7*7}}",
    "{0}",
    "0" * 32,
    "-1",
    "\r\nX: 1",
    "'\"><b>",
)


async def test_nasty_input_is_never_a_bug(bench):
    """Whatever is sent gets a page; a bug would end the process (the bench fails then)."""
    browser = await bench.claimed()
    document = await browser.add_document(await browser.add_patient())
    names = "csrf code practice_name telephone name password password_again next family_name given_name birth_date"
    names += " number same_name documents valid_days label old_password kind title"
    names += " shares place user secret server_key authority first second generation"
    own = browser.csrf
    routes = {(route.method, route.resource.canonical) for route in make_application(bench.desk).router.routes()}
    for method, path in sorted(routes):
        if path in {"/logout", "/lock"}:
            continue
        for at, nasty in enumerate(NASTY):
            quoted = quote(nasty.encode("utf-8", "surrogatepass"), safe="")
            target = re.sub(r"\{[a-z]+\}", document if at % 2 else quoted[:200] or "x", path)
            if method == "POST":
                body = "&".join(f"{name}={own if name == 'csrf' else quoted}" for name in names.split())
                charset = "" if at % 3 else "; charset=utf-7"
                sent = {
                    "Content-Type": f"application/x-www-form-urlencoded{charset}",
                    "Sec-Fetch-Site": "same-origin",
                }
                answer = await browser.ask(method, target, data=body.encode(), headers=sent, follow=False)
            else:
                query = "&".join(
                    f"{name}={quoted[:900]}" for name in ("text", "after", "next", "kind", "done", "before")
                )
                answer = await browser.ask(method, f"{target}?{query}", follow=False)
            assert answer.status in {200, 303, 400, 401, 403, 404, 409, 413, 415, 422, 429}, (method, target)
            assert b"<b>" not in answer.body
            assert b"Traceback" not in answer.body


async def test_half_a_character_in_another_charset_is_refused_before_a_session(bench):
    await bench.claimed()
    stranger = await bench.browser()
    for charset, body in (("utf-7", b"name=+2AA-&password=+2AA-"), ("nonsense", b"name=a"), ("utf-16", b"name=a")):
        sent = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}", "Origin": stranger.origin}
        answer = await stranger.ask("POST", "/login", data=body, headers=sent)
        assert answer.status in {400, 422}
