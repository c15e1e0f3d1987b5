"""Compare the time of ``trioslock lock k -- true`` with that of ``flock f true``.

Run: ``python bench/lock_command.py [--rounds N]``. Baselines of the same run, in turns:
flock, and a Python that imports trio. The server runs in this process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

from trioslock.testing import open_slock_server


def _milliseconds(words: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(words, check=True)
    return (time.perf_counter() - begin) * 1000


def main() -> None:
    """Print the median of each, and the ratios to flock and to the import of trio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    with open_slock_server() as server, tempfile.NamedTemporaryFile() as file:
        lock = [sys.executable, "-m", "trioslock", "lock", "--url", server.url]
        commands = {
            "flock": ["flock", file.name, "true"],
            "import trio": [sys.executable, "-c", "import trio"],
            "trioslock lock": [*lock, "k", "--", "true"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, words in commands.items():
                times[name].append(_milliseconds(words))
    medians = {name: statistics.median(each) for name, each in times.items()}
    for name, median in medians.items():
        print(f"{name:16} {median:7.1f} ms")
    ours = medians["trioslock lock"]
    print(f"trioslock lock / flock        {ours / medians['flock']:6.1f}")
    print(f"trioslock lock / import trio  {ours / medians['import trio']:6.2f}")


if __name__ == "__main__":
    main()
