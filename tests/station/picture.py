"""`python -m tests.station.picture FOLDER`: the pictures of the handover sheet (docs/station)."""

import subprocess
import sys
from pathlib import Path

from provisioning.station.paper import draw_handover
from provisioning.station.sheet import Sheet, fingerprint

SAMPLE = Sheet(
    serial="PS-0001",
    box="5c1d0b2f9e8a47336d20c4e1f7ab9850",
    claim_code="7K3QF-0M4ZT-9X2VB-HW8R6",
    practice_url="https://praxis-5c1d0b2f-lan.example/",
    patient_host="praxis-5c1d0b2f.example",
    device_fingerprint=fingerprint(b"a sample"),
    tpm="IFX SLB9672",
    finished=True,
)

if __name__ == "__main__":
    for language, name in (("de", "handover-sheet"), ("en", "handover-sheet-english")):
        target = Path(sys.argv[1]) / name
        subprocess.run(
            ["pdftoppm", "-png", "-singlefile", "-r", "72", "-gray", "-", target],
            input=draw_handover(SAMPLE, (language,)),
            check=True,
        )
