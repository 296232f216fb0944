async def test_everything(bench):
    b = await bench.claimed()
    p = await b.add_patient()
    d = await b.add_document(p)
    print(await b.open(f"/documents/{d}/open"))
    s, a = await b.share(p, d)
    print(a.by_id("link"))
    a = await b.send(f"/shares/{s}/link-printed", {"printed": "link"})
    print(a.by_id("pin"))
    for path in ("/patients", f"/patients/{p}", "/shares", "/history", "/staff", "/devices", "/password", "/status", f"/patients/{p}/edit", f"/patients/{p}/delete", f"/documents/{d}/delete", f"/shares/{s}/revoke", f"/shares/{s}/pin-slip.pdf"):
        a = await b.open(path)
        assert a.status == 200, (path, a.text)
