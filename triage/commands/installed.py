"""What is installed beside this program: each package with its version and licence."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS: Final = "triage"
UNKNOWN: Final = "not stated"
_LONGEST: Final = 60
"""A licence's name; some packages put its whole text there."""
_SAYS_NOTHING: Final = frozenset({"", "unknown", "license", "dual license"})


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One distribution of this environment."""

    name: str
    """As PEP 503 writes it."""
    version: str
    licence: str

    @property
    def purl(self) -> str:
        """Give its package URL (ECMA-427); a local version label is part of the version."""
        return f"pkg:pypi/{self.name}@{self.version.replace('+', '%2B')}"


def packages() -> list[Package]:
    """Give every distribution that this interpreter would import, the program's own left out."""
    found: dict[str, Package] = {}
    for one in distributions():
        name = canonicalize_name(one.name)
        if name != OURS:
            found.setdefault(name, Package(name, one.version, licence(one)))
    return sorted(found.values())


def licence(one: Distribution) -> str:
    """Give a package's licence: the expression of PEP 639, else the classifiers, else the field."""
    said = one.metadata
    if "License-Expression" in said:
        return said["License-Expression"]
    classes = [value for value in said.get_all("Classifier", []) if value.startswith("License ::")]
    names = [value.split("::")[-1].strip() for value in classes if value.count("::") > 1]
    names += [value.split("::")[-1].strip() for value in classes if value.count("::") == 1]
    if names := [name for name in names if name not in {"OSI Approved", "DFSG approved"}]:
        return " / ".join(names)
    field = said["License"] if "License" in said else ""  # noqa: SIM401 - it has no get
    first = field.strip().splitlines()[:1]
    field = first[0].strip(" =") if first else ""
    return UNKNOWN if field.lower() in _SAYS_NOTHING else field[:_LONGEST]


def needed(*extras: str) -> set[str]:
    """Give what this program needs at run time: its requirements, and theirs, here and now.

    Args:
        extras: of this program, for example "postgres".
    """
    found: set[str] = set()
    waiting = list(_requirements(OURS, frozenset(extras)))
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name not in found:
            found.add(name)
            waiting += _requirements(name, frozenset(one.extras))
    return found


def _requirements(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    try:
        written = distribution(name).requires or ()
    except PackageNotFoundError:
        return  # an environment without it; who needs it says so by failing
    for line in written:
        one = Requirement(line)
        if one.marker is None or any(
            one.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            yield one
