"""The box is locked while people work, and opened again; and at a cold start it waits for what the practice chose."""

import asyncio
import contextlib
import time
from urllib.parse import urljoin

import pytest

from appliance.core.errors import Invalid, Unavailable
from appliance.demo.browser import open_browser
from appliance.demo.processes import host_pids
from tests.attacks.process_memory import ProcessMemory
from tests.simulators.demo_box import running_box
from tests.simulators.patient import Patient
from tests.simulators.staff import Staff

NAME, PASSWORD, PIN = "Sabine Keller", "ein kurzer Satz merkt sich", "314159"
LIMIT_S = 60
