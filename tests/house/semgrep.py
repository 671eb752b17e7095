"""Run semgrep by our rules: over the source, then over what the house's tests plant.

``make semgrep`` does it in an environment of semgrep's own. Ends with 1 where the source breaks a
rule, or where something planted is not found.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.house.patterns import quiet_assertions
from tests.house.source import PACKAGES, ROOT
from tests.house.test_patterns import PLANTED

RULES: Final = Path(__file__).with_suffix(".yaml")
PRELUDE: Final = "import os, pathlib, subprocess, ssl, yaml, torch\nimport numpy as np\n"
PRELUDE_ALSO: Final = "from pathlib import Path\nfrom sqlalchemy import text\n"
UNSEEN: Final = {
    "query = 'SELECT 1 FROM {}'.format(table)": "a statement before anybody runs it",
}
"""What only our own rules find, and why."""


def main(semgrep: str) -> int:
    """Print what was found; gives the status to end with."""
    found = scan(semgrep, *(ROOT / name for name in PACKAGES))
    sources = [source for rule, source in PLANTED if rule is not quiet_assertions]
    missed = [source for source in unseen(semgrep, sources) if source not in UNSEEN]
    lines = [*found, *(f"planted, not found: {source}" for source in missed)]
    met = len(sources) - len(UNSEEN) - len(missed)
    lines.append(f"{len(found)} findings in the source, {met} of what was planted")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if found or missed else 0


def unseen(semgrep: str, sources: list[str]) -> list[str]:
    """Give what is planted and not found."""
    with tempfile.TemporaryDirectory() as name:
        for number, source in enumerate(sources):
            (Path(name) / f"{number}.py").write_text(f"{PRELUDE}{PRELUDE_ALSO}{source}\n")
        files = {place.partition(":")[0] for place in scan(semgrep, Path(name))}
    seen = {int(Path(line).stem) for line in files}
    return [source for number, source in enumerate(sources) if number not in seen]


def scan(semgrep: str, *places: Path) -> list[str]:
    """Give each finding as file:line rule."""
    command = [
        semgrep, "scan", "--config", str(RULES), "--metrics", "off", "--disable-version-check",
        "--no-git-ignore", "--quiet", "--json", *map(str, places),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    if said["errors"]:
        raise SystemExit(str(said["errors"]))
    return [
        f"{one['path']}:{one['start']['line']} {one['check_id'].rpartition('.')[2]}"
        for one in said["results"]
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
