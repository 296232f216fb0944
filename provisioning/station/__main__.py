"""`python -m provisioning.station COMMAND …`: the technician's commands (docs/station.md); wires, holds no logic.

Exit status: 0 done, 2 the input is wrong, 3 not now (run again), 4 box, portal or station refuse, 5 a certificate is
not the one expected, 6 of several boxes at least one is not done, 130 interrupted. 1 would be a bug.
"""

from __future__ import annotations

import sys

from appliance.core.errors import Invalid, NotFound, PraxisError, Refused, Tampered, Unavailable
from provisioning.station import commands
from provisioning.station.arguments import WrongArguments, read_arguments
from provisioning.station.texts import explain

#: By family: 2 correct the input, 3 run again, 4 somebody must decide, 5 stop and look.
EXIT_STATUSES: dict[type[PraxisError], int] = {Invalid: 2, NotFound: 2, Unavailable: 3, Refused: 4, Tampered: 5}
INTERRUPTED = 130  # as a shell says of SIGINT
COMMANDS = {
    "new-key": commands.new_key,
    "public-key": commands.public_key,
    "enrol": commands.enrol_one,
    "enrol-all": commands.enrol_all,
    "resume": commands.resume,
    "status": commands.status,
    "sheet": commands.sheet,
    "hand-over": commands.hand_over,
    "revoke": commands.revoke,
    "words": commands.words,
}


def main(words: list[str]) -> int:
    """Run a command."""
    try:
        chosen = read_arguments(words)
        return COMMANDS[chosen.command](chosen)
    except WrongArguments as error:
        print(f"{explain(error)}\n{error.place}", file=sys.stderr)
        return EXIT_STATUSES[Invalid]
    except PraxisError as error:
        print(explain(error), file=sys.stderr)
        return EXIT_STATUSES[type(error)]
    except KeyboardInterrupt:
        print(explain(Unavailable("interrupted")), file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
