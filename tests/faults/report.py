"""Writes what the fault tests found into docs/reliability.md: `python -m tests.faults.report FILE ...`.

Each FILE is what `pytest --junitxml=FILE` leaves. A test of promise R6 that made 1,000 trials says
`record_property("R6", 1000)`.
"""

import platform
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

RecordProperty = Callable[[str, object], None]

_PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_BEGIN, _END = "<!-- results: written by tests/faults/report.py -->\n", "<!-- end of results -->"


@dataclass
class Result:
    """What all tests of one promise found together."""

    trials: int = 0
    failed_tests: int = 0
    seconds: float = 0.0


def read_results(*paths: Path) -> dict[str, Result]:
    """Promise -> result. A failing test that had not yet recorded its trials is counted under its file's name."""
    results: dict[str, Result] = {}
    for case in (case for path in paths for case in ET.parse(path).getroot().iter("testcase")):
        properties = [(p.get("name", ""), p.get("value", "")) for p in case.iter("property")]
        promises = [(name, int(value)) for name, value in properties if re.fullmatch(r"[RAS]\d+", name)]
        has_failed = case.find("failure") is not None or case.find("error") is not None
        if has_failed and not promises:
            promises = [(case.get("classname", "?"), 0)]
        for name, trials in promises:
            result = results.setdefault(name, Result())
            result.trials += trials
            result.failed_tests += has_failed
            result.seconds += float(case.get("time", "0"))
    return results


def render(results: dict[str, Result]) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, torch {version('torch')}"
    lines = [
        f"Commit `{commit.stdout.strip()}`, {system}. Seeds are fixed in the tests.",
        "",
        "| promise | trials | failed tests | seconds |",
    ]
    lines += ["|---|---:|---:|---:|"]
    for name in sorted(results, key=lambda name: (name[0], int("0" + re.sub(r"\D", "", name)))):
        result = results[name]
        lines.append(f"| {name} | {result.trials:,} | {result.failed_tests} | {result.seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    before, _, rest = _PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    text = before + _BEGIN + render(read_results(*map(Path, sys.argv[1:]))) + _END + after
    _PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
