"""One folder in, findings out: the steps of the road without listener, rows or network."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError
from rich.console import Console
from rich.progress import Progress

from triage import rules
from triage import settings as configuration
from triage.assemble import read
from triage.decide import not_analysed
from triage.destinations import Dimse
from triage.errors import CodedError, Held, NotEligible
from triage.finding import Assessment, Decision, Outcome
from triage.settings import Settings
from triage.spool import digest
from triage.study import InstanceRef, StudyRef
from workers.bench import Bench
from workers.tasks import assess

LOCAL = Dimse(name="folder", ae_title="FOLDER", host="127.0.0.1", port=0)


@dataclass(frozen=True, slots=True)
class Found:
    """What one study came to."""

    study_instance_uid: str
    instances: int
    seconds: float
    decision: Decision
    assessment: Assessment | None
    report: str | None

    def as_dict(self) -> dict[str, Any]:
        """Give it for JSON; no patient data."""
        detections = self.assessment.detections if self.assessment else ()
        warnings = self.assessment.warnings if self.assessment else ()
        reason = self.decision.reason
        return {
            "study_instance_uid": self.study_instance_uid,
            "instances": self.instances,
            "outcome": self.decision.outcome,
            "priority": self.decision.priority,
            "priority_name": self.decision.priority_name,
            "sentence": self.decision.sentence,
            "reason": reason and {"code": reason.code, "detail": reason.sentence},
            "detections": [asdict(one) for one in detections],
            "warnings": [asdict(one) for one in warnings],
            "report": self.report,
            "seconds": round(self.seconds, 3),
        }


def run(paths: list[str], *, as_json: bool, sr: str | None) -> int:
    """Analyse every study under ``paths``; gives the exit code: 1 when any failed."""
    settings = configuration.load()
    rules.check(settings.routes)
    refs, strangers = studies(Path(path) for path in paths)
    bench = Bench(settings)
    folder = Path(sr) if sr else None
    try:
        found = [analyse(ref, settings, bench, folder) for ref in _progress(refs)]
    finally:
        bench.close()
    if as_json:
        answer = {"studies": [one.as_dict() for one in found], "not_dicom": len(strangers)}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        _show(found, len(strangers))
    return 1 if any(one.decision.outcome == Outcome.FAILED for one in found) else 0


def studies(paths: Iterable[Path]) -> tuple[list[StudyRef], list[Path]]:
    """Group files by study, in a stable order; gives the studies, and what is no DICOM."""
    groups: dict[str, dict[str, InstanceRef]] = {}
    strangers = []
    for path in _files(paths):
        try:
            header = pydicom.dcmread(path, specific_tags=["StudyInstanceUID", "SOPInstanceUID"])
            study, instance = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
        except (InvalidDicomError, AttributeError, OSError, ValueError, NotImplementedError):
            strangers.append(path)
            continue
        groups.setdefault(study, {})[instance] = InstanceRef(instance, digest(path), path)
    refs = [
        StudyRef(number, uid, 1, "all files of the folder", tuple(instances.values()))
        for number, (uid, instances) in enumerate(sorted(groups.items()), start=1)
    ]
    return refs, strangers


def analyse(ref: StudyRef, settings: Settings, bench: Bench, folder: Path | None) -> Found:
    """Run the road's pure steps on one study."""
    started, assessment, report = time.monotonic(), None, None
    try:
        assessment = assess(read(ref), settings, bench)
        decision = assessment.decision
        if folder is not None:
            report = _write_report(assessment, bench, folder)
    except NotEligible as why:
        decision = not_analysed(why.reason)
    except CodedError as why:
        outcome = Outcome.HELD if isinstance(why, Held) else Outcome.FAILED
        sentence = f"{outcome.capitalize()}. {why.reason.sentence}."
        decision = Decision(outcome, 0, "", sentence, reason=why.reason)
    seconds = time.monotonic() - started
    return Found(ref.study_instance_uid, len(ref.instances), seconds, decision, assessment, report)


def _write_report(assessment: Assessment, bench: Bench, folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    [(_, document)] = bench.report(assessment, (), destinations=(LOCAL,))
    path = folder / f"{document.sop_instance_uid}.dcm"
    path.write_bytes(document.content)
    return str(path)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        else:
            yield path


def _progress(refs: list[StudyRef]) -> Iterator[StudyRef]:
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        yield from progress.track(refs, description="Analysing")


def _show(found: list[Found], strangers: int) -> None:
    console = Console()
    for one in found:
        _line(console, one.decision.outcome, one.study_instance_uid)
        _line(console, "", one.decision.sentence)
        for warning in one.assessment.warnings if one.assessment else ():
            _line(console, "warning", warning.sentence)
        if one.report:
            _line(console, "", one.report)
    if strangers:
        console.print(f"{strangers} files are no DICOM.")


def _line(console: Console, label: str, text: str) -> None:
    console.print(f"{label:16} {text}", highlight=False, markup=False, soft_wrap=True)
