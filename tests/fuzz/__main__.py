"""`python -m tests.fuzz TARGET --runs N --seed S [--corpus FOLDER]`: bytes for one parser, guided by coverage.

atheris (libFuzzer) chooses the bytes; where it has no wheel, mutations of the examples do, without guidance. Ends with 0
if only declared failures came out, within time and memory; otherwise with a traceback, the bytes in hexadecimal, and
the seed that gives them again. `--file` runs single inputs. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import NAMES, find

try:
    import atheris
except ImportError:  # no wheel for this processor
    atheris = None

CORPUS = Path(__file__).parent / "corpus"
LONGEST_S = 30
MEMORY_MIB = 256
LONGEST_INPUT = 64 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--unguided", action="store_true")
    parser.add_argument("--file", type=Path, nargs="*", default=[])
    chosen = parser.parse_args()
    guided = atheris is not None and not chosen.unguided
    if guided:
        with atheris.instrument_imports(include=["appliance", "aiohttp.multipart"]):
            target, examples = find(chosen.target)
    else:
        target, examples = find(chosen.target)
    examples += [file.read_bytes() for file in sorted((CORPUS / chosen.target).glob("*"))]
    for data in [file.read_bytes() for file in chosen.file] or examples:
        told(target)(data)
    if chosen.file:
        return
    bound_memory()
    print(f"{chosen.target}: {chosen.runs} inputs, seed {chosen.seed}, guided: {guided}", file=sys.stderr, flush=True)
    if not guided:
        run_unguided(target, examples, chosen.runs, chosen.seed)
        return
    with tempfile.TemporaryDirectory(prefix="praxissafe-fuzz-") as folder:
        for number, data in enumerate(examples):
            Path(folder, str(number)).write_bytes(data)
        limits = [
            f"-timeout={LONGEST_S}",
            "-rss_limit_mb=0",  # bound_memory does it
            f"-max_len={LONGEST_INPUT}",
            "-len_control=0",
        ]
        numbers = [f"-runs={chosen.runs}", f"-seed={chosen.seed}", "-print_final_stats=1", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *limits, *numbers, f"-artifact_prefix={folder}/", folder], told(target))
        atheris.Fuzz()


def bound_memory() -> None:
    """Let this process take so much more than it has, and then meet a MemoryError (RLIMIT_DATA, getrlimit(2)).

    The greatest resident size says nothing here: a process inherits that of the one that started it.
    """
    [now_kib] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line]
    bound = int(now_kib) * 1024 + MEMORY_MIB * 1024**2
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def told(target):
    """Wrap a target: the bytes that break it are printed with the failure."""

    def run(data: bytes) -> None:
        try:
            target(data)
        except BaseException:
            print(f"broken by {data.hex()}", file=sys.stderr, flush=True)
            raise

    return run


def run_unguided(target, examples: list[bytes], runs: int, seed: int) -> None:
    """Run a target on mutations of its examples."""
    random, run = Random(seed), told(target)
    for _ in range(runs):
        started = time.monotonic()
        run(mutated(random, random.choice(examples), random.choice(examples))[:LONGEST_INPUT])
        assert time.monotonic() - started < LONGEST_S


if __name__ == "__main__":
    main()
