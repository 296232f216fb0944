"""The page's files: a fixed list, read once at start; what is not on it does not exist.

A request never becomes a path: names are looked up in a table of bytes. Each file is also kept gzip-compressed
(static, public bytes, so compression tells nothing). Raises Unavailable("page_files") when one is missing.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.core.errors import Unavailable
from appliance.gateway import headers

PAGE_FOLDER = Path(__file__).parent / "page"
PDFJS = Path("node_modules/pdfjs-dist")

HTML = "text/html; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"
STYLE = "text/css; charset=utf-8"
ICON = "image/svg+xml"
BYTES = "application/octet-stream"

PAGE_SCRIPTS = (
    "bytes.js",
    "documents.js",
    "envelope.js",
    "manifest.js",
    "page.js",
    "save.js",
    "screens.js",
    "secret.js",
    "server.js",
    "share_link.js",
    "show.js",
    "texts.js",
    "trusted.js",
)

#: pdf.js without WebAssembly (iOS Lockdown Mode has none, and the policy allows none): two decoders as scripts.
PDFJS_SCRIPTS = (
    "legacy/build/pdf.min.mjs",
    "legacy/build/pdf.worker.min.mjs",
    "wasm/jbig2_nowasm_fallback.js",
    "wasm/openjpeg_nowasm_fallback.js",
)

#: The fonts that a PDF may use without carrying them (ISO 32000-1, 9.6.2.2).
STANDARD_FONTS = (
    "FoxitDingbats.pfb",
    "FoxitFixed.pfb",
    "FoxitFixedBold.pfb",
    "FoxitFixedBoldItalic.pfb",
    "FoxitFixedItalic.pfb",
    "FoxitSerif.pfb",
    "FoxitSerifBold.pfb",
    "FoxitSerifBoldItalic.pfb",
    "FoxitSerifItalic.pfb",
    "FoxitSymbol.pfb",
    "LiberationSans-Bold.ttf",
    "LiberationSans-BoldItalic.ttf",
    "LiberationSans-Italic.ttf",
    "LiberationSans-Regular.ttf",
)


@dataclass(frozen=True)
class PageFile:
    """One file as it is answered."""

    body: bytes
    compressed: bytes
    content_type: str
    headers: Mapping[str, str]


def read_page_files(folder: Path = PAGE_FOLDER) -> dict[str, PageFile]:
    """Read every file that gateway serves; gives URL path -> file."""
    listed = [
        ("/", "index.html", HTML, headers.PAGE),
        ("/viewer.html", "viewer.html", HTML, headers.VIEWER),
        ("/service-worker.js", "service-worker.js", SCRIPT, headers.EVERY_ANSWER),
        ("/favicon.ico", "icon.svg", ICON, headers.EVERY_ANSWER),
        ("/assets/style.css", "style.css", STYLE, headers.EVERY_ANSWER),
        ("/assets/viewer.css", "viewer.css", STYLE, headers.VIEWER_FILE),
        ("/assets/viewer.js", "viewer.js", SCRIPT, headers.VIEWER_FILE),
    ]
    listed += [(f"/assets/{name}", name, SCRIPT, headers.EVERY_ANSWER) for name in PAGE_SCRIPTS]
    for script in PDFJS_SCRIPTS:
        name = script.rsplit("/", 1)[1]
        listed.append((f"/assets/pdfjs/{name}", str(PDFJS / script), SCRIPT, headers.VIEWER_FILE))
    for font in STANDARD_FONTS:
        path = str(PDFJS / "standard_fonts" / font)
        listed.append((f"/assets/pdfjs/{font}", path, BYTES, headers.EVERY_ANSWER))
    return {url: _read(folder / path, kind, head) for url, path, kind, head in listed}


def _read(path: Path, content_type: str, head: Mapping[str, str]) -> PageFile:
    try:
        body = path.read_bytes()
    except OSError as error:
        raise Unavailable("page_files") from error
    return PageFile(body, gzip.compress(body, mtime=0), content_type, head)
