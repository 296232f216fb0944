"""What preview makes of a document: pydicom's own files, phone photos, scans; and of what only looks like one."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from appliance.contracts.preview import MAX_PICTURE_BYTES, MAX_TEXT_CHARACTERS
from appliance.core.errors import Invalid
from appliance.preview import pdf_text
from appliance.preview.answers import make_preview
from tests.preview.pictures import PYDICOM_FILES, SIZE, dicom, heic, is_upright, opened, tiff
from tests.simulators.sample_documents import report_pdf

#: What nothing here decodes: JPEG with 12 bits a sample (the only free decoder is GPL), and files broken on purpose.
NOT_DECODED = {
    "JPEG-lossy.dcm",
    "JPGExtended.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",
    "MR_truncated.dcm",
    "badVR.dcm",
}


def refusal(media_type: str, content: bytes) -> str:
    with pytest.raises(Invalid) as refused:
        make_preview(media_type, bytearray(content))  # type: ignore[arg-type]
    return refused.value.code


def picture(media_type: str, content: bytes) -> Image.Image:
    made = make_preview(media_type, bytearray(content))  # type: ignore[arg-type]
    assert made.text == ""
    assert len(made.picture) <= MAX_PICTURE_BYTES
    shown = opened(made.picture)
    assert shown.format == "JPEG"
    assert max(shown.size) <= 1600
    assert not shown.getexif()
    return shown


# --- DICOM ------------------------------------------------------------------------------------------------------


def test_every_picture_of_pydicom_s_own_files_is_shown_or_refused_by_name() -> None:
    shown, refused = set(), {}
    for path in sorted(PYDICOM_FILES.rglob("*")):
        if not path.is_file() or path.read_bytes()[128:132] != b"DICM":
            continue
        try:
            picture("application/dicom", path.read_bytes())
            shown.add(path.name)
        except Invalid as error:
            refused[path.name] = error.code
    assert {name for name, code in refused.items() if code == "content_damaged"} == NOT_DECODED
    assert set(refused.values()) == {"content_damaged", "picture_missing"}
    assert len(shown) >= 80


@pytest.mark.parametrize(
    "name",
    ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
     "MR_small_bigendian.dcm", "MR_small_implicit.dcm"],
)  # fmt: skip
def test_one_picture_looks_the_same_however_it_is_stored(name: str) -> None:
    reference = np.asarray(picture("application/dicom", dicom("MR_small.dcm")).convert("L")).astype(int)
    same = np.asarray(picture("application/dicom", dicom(name)).convert("L")).astype(int)
    assert np.abs(reference - same).max() <= 2
    assert reference.std() > 30  # and it is no grey wall


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm", "SC_ybr_full_422_uncompressed.dcm"])
def test_colours_are_the_file_s(name: str) -> None:
    shown = picture("application/dicom", dicom(name)).convert("RGB")
    assert shown.size == (100, 100)
    found = [shown.getpixel((50, y)) for y in (5, 25, 45, 65, 95)]
    for seen, meant in zip(
        found, [(255, 0, 0), (0, 255, 0), (0, 0, 255), (64, 64, 64), (255, 255, 255)], strict=True
    ):
        assert all(abs(one - other) < 70 for one, other in zip(seen, meant, strict=True)), (seen, meant)  # type: ignore[call-overload]


def made_dicom(values: np.ndarray, photometric: str = "MONOCHROME2", **fields: object) -> bytes:
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file.Rows, file.Columns = values.shape[:2]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, photometric
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
    file.PixelRepresentation = int(values.dtype.kind == "i")
    file.PixelData = values.tobytes()
    for name, value in fields.items():
        setattr(file, name, value)
    written = BytesIO()
    pydicom.dcmwrite(written, file, enforce_file_format=True)
    return written.getvalue()


RAMP = np.tile(np.arange(0, 4096, 32, dtype=np.int16), (32, 1))


def shades(content: bytes) -> list[int]:
    shown = picture("application/dicom", content).convert("L")
    return [shown.getpixel((x, 16)) for x in (4, 32, 64, 96, 124)]  # type: ignore[misc]


def test_grey_values_are_rescaled_and_windowed() -> None:
    whole = shades(made_dicom(RAMP))
    assert whole[0] < 15
    assert whole == sorted(whole)
    assert whole[-1] > 240
    # Value x 2 - 1000, of which 0 to 1000 is shown: black up to a stored 500, white from a stored 1000 on.
    window = shades(
        made_dicom(RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=[500, 40], WindowWidth=[1000, 400])
    )
    assert window[0] == 0
    assert window[2:] == [255, 255, 255]


def test_monochrome1_is_white_where_the_numbers_are_low() -> None:
    assert shades(made_dicom(RAMP, "MONOCHROME1")) == [255 - shade for shade in shades(made_dicom(RAMP))]


def test_of_many_frames_the_first_is_shown() -> None:
    first, second = np.zeros((16, 16), np.uint16), np.full((16, 16), 60000, np.uint16)
    first[:, 8:] = 60000
    content = made_dicom(first, NumberOfFrames=2, PixelData=first.tobytes() + second.tobytes())
    shown = picture("application/dicom", content).convert("L")
    assert shown.getpixel((2, 8)) < 20  # type: ignore[operator]
    assert shown.getpixel((13, 8)) > 235  # type: ignore[operator]


def test_a_dicom_file_without_a_picture_says_so() -> None:
    assert refusal("application/dicom", dicom("test-SR.dcm")) == "picture_missing"


def test_a_header_that_lies_about_the_picture_is_refused_before_anything_is_decoded() -> None:
    assert refusal("application/dicom", made_dicom(RAMP, Rows=65535, Columns=65535)) == "picture_size"
    assert refusal("application/dicom", made_dicom(RAMP, Rows=2000, Columns=2000)) == "content_damaged"
    assert refusal("application/dicom", made_dicom(RAMP, Rows=0)) == "content_damaged"


# --- photos and scans -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photo_from_a_phone_is_upright_whichever_way_it_was_held(orientation: int) -> None:
    shown = picture("image/heic", heic(orientation))
    assert shown.size == SIZE
    assert is_upright(shown)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_scan_is_upright(orientation: int) -> None:
    assert is_upright(picture("image/tiff", tiff(orientation)))


def test_a_scan_of_16_bits_and_one_with_transparency_are_shown() -> None:
    written = BytesIO()
    Image.fromarray(RAMP.astype(np.uint16)).save(written, "TIFF")
    grey = picture("image/tiff", written.getvalue()).convert("L")
    assert grey.getpixel((2, 16)) < 30 < 200 < grey.getpixel((120, 16))  # type: ignore[operator]
    written = BytesIO()
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(written, "TIFF")
    assert picture("image/tiff", written.getvalue()).getpixel((10, 10)) == (255, 255, 255)


def test_a_large_photo_becomes_small_and_noise_fits_the_answer() -> None:
    written = BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (1700, 2400, 3), np.uint8)
    Image.fromarray(noise).save(written, "TIFF")
    assert picture("image/tiff", written.getvalue()).width == 1600


def a_bomb() -> bytes:
    """A TIFF of 40,000 x 40,000 in a few kilobytes."""
    strip = zlib.compress(bytes(40_000))
    entries = [(256, 4, 40_000), (257, 4, 40_000), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 8), (277, 3, 1),
               (278, 4, 40_000), (279, 4, len(strip))]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in entries
    )
    return struct.pack("<2sHI", b"II", 42, 8 + len(strip)) + strip + directory + bytes(4)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    assert refusal("image/tiff", a_bomb()) == "picture_size"


@pytest.mark.parametrize("media_type", ["application/dicom", "application/pdf", "image/heic", "image/tiff"])
@pytest.mark.parametrize("kept", [0, 1, 40, 200, 700])
def test_a_file_that_breaks_off_is_refused(media_type: str, kept: int) -> None:
    whole = {
        "application/dicom": dicom("CT_small.dcm"),
        "application/pdf": report_pdf(),
        "image/heic": heic(6),
        "image/tiff": tiff(6),
    }[media_type]
    assert refusal(media_type, whole[:kept]) in {"content_damaged", "picture_missing"}


def test_bytes_of_another_kind_are_refused() -> None:
    for media_type in ("application/dicom", "application/pdf", "image/heic", "image/tiff"):
        assert refusal(media_type, b"\x7fELF" + bytes(5000)) == "content_damaged"


def test_no_picture_is_decoded_by_a_format_it_was_not_sent_as() -> None:
    written = BytesIO()
    Image.new("RGB", (10, 10)).save(written, "PNG")
    assert refusal("image/tiff", written.getvalue()) == "content_damaged"
    assert refusal("image/heic", tiff()) == "content_damaged"
    assert refusal("image/tiff", heic()) == "content_damaged"


# --- PDF --------------------------------------------------------------------------------------------------------


def test_the_text_of_a_pdf_is_read() -> None:
    made = make_preview("application/pdf", bytearray(report_pdf()))
    assert made.picture == b""
    assert "\x00" not in made.text
    assert len(made.text.split()) > 3


def test_text_is_plain_and_within_the_caps() -> None:
    assert pdf_text._plain("Be\x00fund\r\n\r\n  Dr.\t Mü\u202eller\ud800 ") == "Befund\nDr. Müller"
    assert len(pdf_text._within_caps("x" * (MAX_TEXT_CHARACTERS + 1))) == MAX_TEXT_CHARACTERS
    assert len(pdf_text._within_caps("𝄞" * MAX_TEXT_CHARACTERS).encode()) <= pdf_text.MAX_TEXT_BYTES
