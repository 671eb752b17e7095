"""What every long-running process does first: keep its files private, its memory to itself.

A core file, or the memory of a process that another one may read, holds patients.
"""

import ctypes
import os
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from triage.commands.advisories import ADVISORIES, affected
from triage.commands.installed import Package
from triage.errors import ConfigError

UMASK: Final = 0o077
PR_SET_DUMPABLE: Final = 4


def harden() -> None:
    """Give up what a service does not need, for this process and its children.

    Raises:
        ConfigError: a package is installed in a version with a known weakness.
    """
    refuse_weak_packages()
    os.umask(UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # Also where cores go to a program, which the limit does not keep from them (core(5)).
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def refuse_weak_packages() -> None:
    """Hold the packages that advisories name against those that would be imported.

    Raises:
        ConfigError: one of them is affected.
    """
    for package, advisory in affected(_named()):
        msg = (
            f"{package.name} {package.version} has {advisory.name} ({advisory.what}); "
            "pip install --require-hashes -r requirements.lock"
        )
        raise ConfigError(msg)


def _named() -> list[Package]:
    found = []
    for name in sorted({one.package for one in ADVISORIES}):
        try:
            found.append(Package(name, version(name), ""))
        except PackageNotFoundError:
            continue
    return found
