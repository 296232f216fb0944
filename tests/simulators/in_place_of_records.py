"""A program that runs on a box as the user of records and in its place: fills a box, or reads everything it holds."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from appliance.demo.places import CODE
from appliance.demo.processes import inside
from tests.simulators.demo_box import ROOT, DemoBox

USER, GROUPS = "praxis-records", "praxis-local,praxis-spool"


def run_in_place_of_records(box: DemoBox, module: str, *arguments: object, said: str = "") -> dict[str, Any]:
    """Run a module with records stopped; give the JSON object it prints, and how long records took to start."""
    there = inside(box.state)
    subprocess.run([*there, "systemctl", "stop", "praxis-records.service"], check=True)
    command = [
        *there,
        "setpriv",
        f"--reuid={USER}",
        f"--regid={USER}",
        f"--groups={GROUPS}",
        "env",
        f"PYTHONPATH={ROOT}",
        "PYTHONDONTWRITEBYTECODE=1",
        "sh",
        "-c",
        'umask 077; cd / && exec "$@"',
        "program",
        f"{CODE}/.venv/bin/python",
        "-m",
        module,
        *map(str, arguments),
    ]
    done = subprocess.run(command, input=said, stdout=subprocess.PIPE, text=True, check=True)
    began = time.monotonic()
    subprocess.run([*there, "systemctl", "start", "praxis-records.service"], check=True)
    return {**json.loads(done.stdout), "records_starts_s": time.monotonic() - began}
