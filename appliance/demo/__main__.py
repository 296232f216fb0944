"""The whole box on this machine, until SIGTERM: see `python -m appliance.demo --help`.

Exit status: 0 when it was told to end, 1 when something failed (one sentence on standard error), 2 for wrong
arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from appliance.core.errors import PraxisError
from appliance.demo.places import Places, Ports
from appliance.demo.run import explain, run


def main(arguments: list[str]) -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m appliance.demo", description="The whole box on this machine.")
    parser.add_argument(
        "--state", type=Path, required=True, help="folder for this box; a second start finds its data"
    )
    parser.add_argument(
        "--port-base", type=int, default=8443, help="practice here, portal at the next, four more after"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON once ready")
    parser.add_argument("--empty", action="store_true", help="leave the box unclaimed, for its first member of staff")
    options = parser.parse_args(arguments)
    if not 1 <= options.port_base <= 65530:
        parser.error("--port-base must be between 1 and 65530")
    if os.geteuid() != 0:
        print("The demo starts a container, so it has to be run as root.", file=sys.stderr)
        return 1
    places = Places(options.state.resolve())
    try:
        asyncio.run(run(places, Ports(options.port_base), as_json=options.json, empty=options.empty))
    except PraxisError as error:
        print(explain(error, places), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
