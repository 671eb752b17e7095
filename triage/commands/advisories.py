"""Known weaknesses of what we build on, checked in: a gate that needs no network.

An auditor that cannot reach its service calls everything sound, so the list that gates a release
is this one. A row is added when an advisory is read, never taken out, and its range is the one that
the advisory gives. What is no Python package (DCMTK, Orthanc, Redis, a viewer) is in docs/soup.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from triage.commands.installed import Package


@dataclass(frozen=True, slots=True)
class Advisory:
    """One weakness of one package."""

    package: str
    affected: str
    """PEP 440."""
    name: str
    what: str


ADVISORIES: Final = (
    Advisory("pydicom", "<=3.0.1", "CVE-2026-32711", "a DICOMDIR leads outside its folder"),
    Advisory("pynetdicom", "<3.0.4", "CVE-2026-56445", "its qrscp writes outside its folder"),
    Advisory("python-gdcm", "<=3.2.2", "CVE-2026-3650", "memory runs out on a made-up file"),
    Advisory("torch", "<2.6", "CVE-2025-32434", "weights_only=True runs code"),
    Advisory("torch", "<2.10", "CVE-2026-24747", "weights_only=True corrupts memory"),
    Advisory("monai", "<=1.5.1", "CVE-2026-21851", "a bundle's archive leads outside its folder"),
    Advisory("monai", "<1.5.2", "CVE-2025-58756", "a checkpoint runs code"),
    Advisory("monai", "<1.5.2", "GHSA-89gg-p5r5-q6r4", "Auto3DSeg unpickles what it is given"),
    Advisory("starlette", "<0.49.1", "CVE-2025-62727", "a Range header costs quadratic time"),
    Advisory("python-multipart", "<0.0.26", "CVE-2026-40347", "a form's preamble costs time"),
    Advisory("celery", "<5.2.2", "CVE-2021-23727", "a result in the backend runs commands"),
    Advisory("jinja2", "<3.1.6", "CVE-2025-27516", "a template leaves its sandbox"),
    Advisory("h11", "<0.16", "CVE-2025-43859", "two ends see two messages in one"),
    Advisory("pillow", "<10.3", "CVE-2024-28219", "a buffer overflows in colour management"),
    Advisory("cryptography", "<42.0.4", "CVE-2024-26130", "a PKCS 12 file crashes the process"),
    Advisory("requests", "<2.32.4", "CVE-2024-47081", "credentials of .netrc go to another host"),
    Advisory("urllib3", "<2.5", "CVE-2025-50181", "redirects are followed though switched off"),
    Advisory("certifi", "<2024.7.4", "CVE-2024-39689", "trusts roots that were withdrawn"),
    Advisory("setuptools", "<78.1.1", "CVE-2025-47273", "a package's URL leads outside its folder"),
)


def affected(found: Iterable[Package]) -> list[tuple[Package, Advisory]]:
    """Give the packages that an advisory names in that version, with it.

    A version that cannot be read counts as affected: nobody can say that it is not.
    """
    return [
        (package, advisory)
        for package in found
        for advisory in ADVISORIES
        if canonicalize_name(advisory.package) == package.name
        and _inside(package.version, advisory.affected)
    ]


def _inside(version: str, affected_range: str) -> bool:
    try:
        # Of a local build, such as 2.13.0+cpu, the public version counts.
        public = Version(version).public
    except InvalidVersion:
        return True
    return SpecifierSet(affected_range).contains(public, prereleases=True)
