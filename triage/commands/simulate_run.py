"""A run of the simulation: the hospital asked for, and what is known of it so far."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from triage.commands import simulate_check
from triage.commands.simulate_arrivals import Arrival
from triage.commands.simulate_check import Found
from triage.commands.simulate_hostile import Hostility
from triage.commands.simulate_ledger import Ledger
from triage.commands.simulate_modality import Told
from triage.commands.simulate_readers import Seen
from triage.commands.simulate_site import Site
from triage.commands.simulate_studies import Maker


@dataclass(frozen=True, slots=True)
class Hospital:
    """How the hospital behaves."""

    arrivals: Sequence[Arrival]
    maker: Maker
    speed: float = 60.0
    """Simulated seconds a second; 0 is without waiting."""
    stations: int = 2
    """Of each modality."""
    calling: str | None = None
    """One AE title for all stations."""
    readers: int = 1
    hostile: bool = False
    late_s: float = 10.0
    archive: bool = False
    limit_s: float = 600.0
    """After the last image, until everything rests."""

    def titles(self) -> dict[str, list[str]]:
        """Give the AE titles of each modality's stations."""
        return {
            modality: [self.calling or f"SIM{modality}{n + 1}" for n in range(self.stations)]
            for modality in sorted({one.modality for one in self.arrivals})
        }


@dataclass(slots=True)
class Run:
    """One run under way."""

    hospital: Hospital
    site: Site
    ledger: Ledger
    told: Told = field(default_factory=Told)
    seen: Seen = field(default_factory=Seen)
    hostility: Hostility | None = None
    began: float = field(default_factory=time.time)
    found: Mapping[str, Found] = field(default_factory=dict)

    def look(self) -> None:
        """Read the database again."""
        if self.site.database is not None:
            studies = {one.study for one in self.ledger.entries}
            self.found = simulate_check.look(self.site.database, studies)
