"""``sharing`` in site.yaml: who may read what a service writes, where each has a user of its own.

By default nobody may: files are of mode 0600, folders of 0700. Where the services run under users
of their own, what one of them writes and another one reads is given to one group, which may read
it and never write it. Everything else stays with the user that wrote it.
"""

import grp
import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE
from typing import Annotated, Final

from pydantic import Field

from triage.errors import ConfigError
from triage.frozen import Frozen

FILE: Final = 0o640
FOLDER: Final = 0o750


class Sharing(Frozen):
    """Who may read, and where this service's own secrets are."""

    readers: Annotated[str, Field(pattern=r"^([a-z_][a-z0-9_-]*|[0-9]+)?$")] = ""
    """The system's group, by name or number, that may read kept studies, priors, anomaly maps and
    nodes.yaml; empty: nobody but the user that wrote them."""
    secrets: Annotated[str, Field(pattern=r"^[a-z0-9-]*$")] = ""
    """The folder below ``STATE/secrets`` that holds the keys of this service; empty: that folder
    itself. Set where the service is started, for it differs from one to the next."""


@dataclass(frozen=True, slots=True)
class Readers:
    """A group that may read what it is given; without a group nothing is given to anybody."""

    group: int | None = None

    def give(self, file: Path) -> None:
        """Let the group read a file of ours.

        Raises:
            OSError: it is not there, or this process is not of the group.
        """
        self._give(file, FILE)

    def open(self, folder: Path) -> None:
        """Let the group list a folder of ours.

        Raises:
            OSError: it is not there, or this process is not of the group.
        """
        self._give(folder, FOLDER)

    def _give(self, path: Path, mode: int) -> None:
        if self.group is None:
            return
        facts = path.stat(follow_symlinks=False)
        if facts.st_uid != os.geteuid():
            return  # whose it is gave it, or did not
        # A service whose first group is the readers' own needs no chown, which it may be denied.
        if facts.st_gid != self.group:
            os.chown(path, -1, self.group)
        if S_IMODE(facts.st_mode) != mode:
            path.chmod(mode)


NOBODY: Final = Readers()


def readers(sharing: Sharing) -> Readers:
    """Give the readers that the site names.

    Raises:
        ConfigError: the system has no such group.
    """
    if not sharing.readers:
        return NOBODY
    if sharing.readers.isdigit():
        return Readers(int(sharing.readers))
    try:
        return Readers(grp.getgrnam(sharing.readers).gr_gid)
    except KeyError:
        msg = f"sharing.readers: there is no group {sharing.readers}; run: systemd-sysusers"
        raise ConfigError(msg) from None
