"""Make the users and folders of ``deploy/`` where there is no systemd: an image's build runs it.

``python docker/folders.py ROOT STATE``: users, numbered from 10001, and their group, 10000, are
added to ROOT's ``etc/passwd`` and ``etc/group``; what ``tmpfiles.d`` names below
``/var/lib/triage`` is made below ROOT/STATE. A new volume takes contents and owners from there.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Final

DEPLOY: Final = Path(__file__).parents[1] / "deploy"
STATE: Final = "/var/lib/triage"
GROUP: Final = 10_000
FIRST: Final = 10_001


def main(root: Path, state: str) -> None:
    """Make both."""
    numbers = {"root": 0}
    with (root / "etc/group").open("a") as file:
        file.writelines(f"{line[1]}:x:{GROUP}:\n" for line in lines("sysusers.d") if line[0] == "g")
    with (root / "etc/passwd").open("a") as file:
        for number, (_, name, _, words) in enumerate(users(), start=FIRST):
            numbers[name] = number
            file.write(f"{name}:x:{number}:{GROUP}:{words}:{state}:/usr/sbin/nologin\n")
    for kind, path, mode, user, _ in lines("tmpfiles.d"):
        if not path.startswith(STATE):
            continue
        place = root / (state + path.removeprefix(STATE)).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "d":
            place.mkdir(exist_ok=True)
        else:
            place.touch()
        os.chown(place, numbers[user], GROUP)
        place.chmod(int(mode, 8))


def users() -> list[list[str]]:
    """Give the lines of ``sysusers.d`` that name a user."""
    return [line for line in lines("sysusers.d") if line[0] == "u"]


def lines(folder: str) -> list[list[str]]:
    """Give the words of each line that says something."""
    text = (DEPLOY / folder / "triage.conf").read_text()
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
