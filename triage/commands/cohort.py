"""``triage cohort build``: from DICOM studies to data that ``triage train`` can learn from."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import Progress

from models.files import write_atomically
from triage.commands.cohort_series import Bench, Candidate, Journal, Looked, without_detectors
from triage.commands.cohort_split import Placed, Shares, place, refuse_empty
from triage.commands.common import print_table
from triage.commands.training_cohort import COHORT, write_cohort
from triage.errors import REASONS, ConfigError, TryAgain
from triage.keys import COHORT_KEY, Keyed, site_key
from triage.preprocess.decoder import Decoder

if TYPE_CHECKING:
    from triage.commands.cohort_sources import Found
    from triage.settings import Settings
    from triage.study import StudyRef

FACTS: Final = "cohort.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make of the studies."""

    healthy: frozenset[str] | None
    """Study Instance UIDs that a person read as healthy; None: all that are not abnormal."""
    abnormal: frozenset[str] = frozenset()
    routes: tuple[str, ...] = ()
    """Names of routes.yaml; empty is every route."""
    shares: Shares = field(default_factory=Shares)

    def takes(self, study_instance_uid: str) -> bool:
        """Tell whether a study's label is known."""
        if study_instance_uid in self.abnormal:
            return True
        return self.healthy is None or study_instance_uid in self.healthy


def build(folder: Path, found: "Found", wanted: Wanted, settings: "Settings") -> dict[str, Any]:
    """Write cohort.csv and cohort.json, and give the counts that cohort.json holds.

    Killed, it goes on where it was when it is started again. On a terminal a bar is drawn.

    Raises:
        ConfigError: there is a cohort, a route is unknown, a label contradicts itself, or too
            few studies are left for every split.
    """
    _refuse_contradictions(folder, wanted, settings)
    labelled = [ref for ref in found.studies if wanted.takes(ref.study_instance_uid)]
    looked = _look(folder, labelled, wanted, settings)
    candidates = [one for each in looked for one in each.candidates]
    placed = place(candidates, wanted.abnormal, wanted.shares)
    facts = _facts(found, labelled, looked, placed, wanted)
    refuse_empty(
        (
            placed.split_of[one.patient]
            for one in candidates
            if one.study_instance_uid not in wanted.abnormal
        ),
        wanted.shares,
        facts["not_taken"],
    )
    write_atomically(folder / FACTS, json.dumps(facts, indent=1).encode())
    write_cohort(folder, list(_lines(candidates, placed, wanted)))
    Journal(folder, "").done()
    return facts


def show(folder: Path, facts: dict[str, Any]) -> None:
    """Print a cohort's counts as a table, and under it what was left out and why."""
    rows = facts["splits"]
    print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    said = {key: value for key, value in facts.items() if key != "splits" and value}
    not_taken = said.pop("not_taken", {})
    said |= {f"not taken: {REASONS[code].meaning}": n for code, n in not_taken.items()}
    sys.stdout.write("\n")
    print_table(("", ""), [(key.replace("_", " "), value) for key, value in said.items()])
    sys.stdout.write(f"\nTrain on it with: triage train FILE --data {folder}\n")


def _refuse_contradictions(folder: Path, wanted: Wanted, settings: "Settings") -> None:
    known = {route.name for route in settings.routes.routes}
    if (folder / COHORT).exists():
        msg = f"{folder} holds a cohort already; name another folder"
    elif unknown := set(wanted.routes) - known:
        msg = f"no route {', '.join(sorted(unknown))} in routes.yaml, only {', '.join(known)}"
    elif both := (wanted.healthy or frozenset()) & wanted.abnormal:
        msg = f"study {min(both)} is listed as healthy and as abnormal; correct the lists"
    elif wanted.shares.early_stop + wanted.shares.calibration + wanted.shares.test >= 1:
        msg = "the shares leave nobody to train on; lower --early-stop, --calibration or --test"
    else:
        return
    raise ConfigError(msg)


def _look(
    folder: Path, labelled: Sequence["StudyRef"], wanted: Wanted, settings: "Settings"
) -> list[Looked]:
    routes = without_detectors(settings.routes, wanted.routes)
    described = (routes.model_dump(mode="json"), settings.model_dump(mode="json")["recipes"])
    key = site_key(settings.secrets, COHORT_KEY)
    identity = hashlib.sha256(json.dumps(described).encode() + key).hexdigest()
    journal = Journal(folder, identity)
    looked = []
    with Decoder(settings.site.decode) as decoder:
        bench = Bench(routes, settings.recipes, decoder, Keyed(key))
        for ref in _progress(labelled):
            one = journal.known(ref)
            if one is None:
                try:
                    one = bench.look(ref)
                except TryAgain as why:
                    msg = f"study {ref.study_instance_uid}: {why}; start the command again"
                    raise ConfigError(msg) from None
                journal.note(ref, one)
            looked.append(one)
    return looked


def _lines(
    candidates: Sequence[Candidate], placed: Placed, wanted: Wanted
) -> Iterator[dict[str, str]]:
    for one in sorted(candidates, key=lambda each: each.pixels):
        for sop_instance_uid, sha256, path in one.files:
            yield {
                "path": path,
                "sha256": sha256,
                "sop_instance_uid": sop_instance_uid,
                "series_instance_uid": one.series_instance_uid,
                "study_instance_uid": one.study_instance_uid,
                "split": placed.split_of[one.patient],
                "anomaly": str(int(one.study_instance_uid in wanted.abnormal)),
                "patient": one.patient,
                "stratum": one.stratum,
                "route": one.route,
                "recipe": one.recipe,
                "pixels": one.pixels,
            }


def _facts(
    found: "Found",
    labelled: Sequence["StudyRef"],
    looked: Sequence[Looked],
    placed: Placed,
    wanted: Wanted,
) -> dict[str, Any]:
    listed = (wanted.healthy or frozenset()) | wanted.abnormal
    there = {ref.study_instance_uid for ref in found.studies}
    return {
        "splits": _counts([one for each in looked for one in each.candidates], placed, wanted),
        "studies": len(found.studies),
        "unlabelled": len(found.studies) - len(labelled),
        "listed_but_absent": len(listed - there),
        "not_taken": dict(Counter(each.refused for each in looked if each.refused)),
        "not_dicom": found.strangers,
        "patients_joined_by_a_picture": placed.joined,
        "copies_between_patients": placed.copies,
    }


def _counts(
    candidates: Sequence[Candidate], placed: Placed, wanted: Wanted
) -> list[dict[str, Any]]:
    """Give a row for each split and stratum."""
    groups: dict[tuple[str, str], list[Candidate]] = {}
    for one in candidates:
        groups.setdefault((placed.split_of[one.patient], one.stratum), []).append(one)
    return [
        {
            "split": split,
            "stratum": stratum,
            "patients": len({one.patient for one in own}),
            "studies": len({one.study_instance_uid for one in own}),
            "series": len(own),
            "slices": sum(one.slices for one in own),
            "abnormal": sum(one.study_instance_uid in wanted.abnormal for one in own),
        }
        for (split, stratum), own in sorted(groups.items())
    ]


def _progress(labelled: Sequence["StudyRef"]) -> Iterator["StudyRef"]:
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        yield from progress.track(labelled, description="Preparing studies")
