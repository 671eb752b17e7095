"""How a site reads: how long a claim holds, how soon a study should be opened, how many watch."""

from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from triage.frozen import Frozen

NAMES: Final = ("StudyInstanceUID", "AccessionNumber", "PatientID")
"""What an address of the PACS's viewer may ask by."""
OF_STUDY: Final = frozenset(NAMES[:2])


def _address(text: str) -> str:
    if not text:
        return text
    names = ", ".join(f"{{{name}}}" for name in NAMES)
    rest = text
    for name in NAMES:
        rest = rest.replace(f"{{{name}}}", "")
    if "{" in rest or "}" in rest or not _asked(text) & OF_STUDY:
        msg = f"it names {{StudyInstanceUID}} or {{AccessionNumber}}, and nothing but {names}"
        raise ValueError(msg)
    if not (text.isascii() and text.isprintable()) or " " in text:
        msg = "an address has neither spaces nor letters beyond ASCII: write them as %20"
        raise ValueError(msg)
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "{" in parts.netloc:
        msg = "it begins with https:// or http:// and the name of a server"
        raise ValueError(msg)
    return text


def _asked(text: str) -> set[str]:
    return {name for name in NAMES if f"{{{name}}}" in text}


class Reading(Frozen):
    """The worklist's limits."""

    claim_s: PositiveFloat = 1800.0
    """A claim ends by itself after this long, and is renewed by claiming again."""
    open_within_s: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        14_400.0, 3600.0, 1800.0,
    )  # fmt: skip
    """From receipt to the first opening: of routine studies, of priority 1, of 2 and above."""
    nearly: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """The clock says "soon" from this share of the limit on, and "late" past it."""
    max_streams: PositiveInt = 64
    """Pages that are told of changes at once; further ones ask now and then."""
    max_streams_per_session: PositiveInt = 6
    max_export_rows: PositiveInt = 10_000
    """Of one exported list."""
    max_saved_lists: PositiveInt = 20
    """Of one reader."""

    pacs_viewer: Annotated[str, AfterValidator(_address)] = ""
    """Where the PACS shows a study, as IHE's Invoke Image Display (RAD-106) has it:
    ``https://pacs.example/IHEInvokeImageDisplay?requestType=STUDY&studyUID={StudyInstanceUID}``."""

    def at_pacs(self, study: Mapping[str, str]) -> str:
        """Give the address at which the PACS shows a study; "" where nothing names it there.

        ``study`` holds the value of each of NAMES, which may be empty.
        """
        address = self.pacs_viewer
        if not any(study[name] for name in _asked(address) & OF_STUDY):
            return ""
        for name in NAMES:
            address = address.replace(f"{{{name}}}", quote(study[name], safe=""))
        return address

    def limit_s(self, priority: int) -> float:
        """Give the limit of a priority; the last one holds for all above it."""
        return self.open_within_s[min(max(priority, 0), len(self.open_within_s) - 1)]
