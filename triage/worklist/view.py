"""Rows as the pages show them: the mark of each state, the report's state, what to do next.

A missing result never looks like a low score: every state has its own shape, word and colour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from db.listing import Clock
from db.remarks import WarningRow
from db.tables import OutboxRow, StudyRow
from triage.finding import WARNINGS, Outcome
from triage.worklist import words

HIGH_FROM: Final = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """How a state looks: the key of its shape and colour, and its word."""

    key: str
    word: str


PENDING: Final = Mark("pending", "Pending")
MARKS: Final[Mapping[str, Mark]] = {
    Outcome.PENDING: PENDING,
    Outcome.PRIORITISED: Mark("raised", "Prioritised"),
    Outcome.NOT_PRIORITISED: Mark("not-prioritised", "Not prioritised"),
    Outcome.NOT_ANALYSED: Mark("not-analysed", "Not analysed"),
    Outcome.HELD: Mark("held", "Held"),
    Outcome.FAILED: Mark("failed", "Failed"),
}
NEXT_STEPS: Final = {
    "identity-conflict": "Compare the patient in the PACS and at the modality, and correct it "
    "there.",
    "content-conflict": "Find out which of the two contents is right.",
    "no-patient": "Give the study a Patient ID at its source and send it again.",
    "images-deleted": "Send the study's images again from where they are archived.",
    "refused": "Look at the destination's own log and put right what it refused.",
}
NO_REPORTS: Final[Mapping[str, str]] = {
    Outcome.PENDING: "not yet",
    Outcome.HELD: "withheld",
    Outcome.FAILED: "withheld",
}
STATES: Final = {
    "receiving": "receiving instances",
    "ready": "waiting for analysis",
    "analysed": "waiting for delivery",
    "delivered": "delivered",
    "rejected": "closed",
    "held": "held",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Report:
    """Where a study's reports are, in one word and one line."""

    key: str
    word: str
    line: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One study as a line of the list."""

    study: StudyRow
    mark: Mark
    level: str
    """The priority's name, where there is one above routine."""
    age: str
    what: str
    """Body part and description."""
    waited: timedelta
    promoted: bool
    overdue: bool
    sentence: str
    problem: str
    """Why it is held or failed, where the sentence still tells of a finding."""
    report: Report
    warnings: tuple[str, ...] = ()
    """What a person is warned of, in a few words each."""


def mark(study: StudyRow) -> Mark:
    """Give the study's mark. A word nobody knows is shown as it is, never as a low score."""
    found = MARKS.get(study.outcome)
    if found is None:
        return Mark("failed", study.outcome)
    if study.outcome == Outcome.PRIORITISED and study.priority >= HIGH_FROM:
        return Mark("high", found.word)
    return found


def row(
    study: StudyRow,
    reports: Sequence[OutboxRow],
    clock: Clock,
    warnings: Sequence[WarningRow] = (),
) -> Row:
    """Give a study as the list shows it."""
    return Row(
        study=study,
        mark=mark(study),
        level=study.priority_name if study.priority else "",
        age=words.age(study.patient_birth_date, study.study_date),
        what=", ".join(part for part in (study.body_part, study.study_description) if part),
        waited=clock.as_of - study.received_at,
        promoted=clock.promotes(study),
        overdue=clock.is_overdue(study),
        sentence=study.sentence or _meanwhile(study),
        problem=_problem(study),
        report=report(study, reports),
        warnings=tuple(dict.fromkeys(WARNINGS.get(one.code, one.code) for one in warnings)),
    )


def report(study: StudyRow, reports: Sequence[OutboxRow]) -> Report:
    """Say where the study's reports are; "sent" is not yet "committed"."""
    refused = sum(one.state in {"refused", "gave-up"} for one in reports)
    queued = [one for one in reports if one.state == "queued"]
    if any(one.state == "withdrawn" for one in reports):
        return Report("refused", "withdrawn", _destinations(reports))
    if refused:
        return Report("refused", "refused", f"{refused} of {len(reports)} destinations")
    if queued:
        attempts = max(one.attempts for one in queued)
        return Report("waiting", "waiting", f"{attempts} attempts" if attempts else "")
    if reports:
        return _arrived(reports)
    return Report("none", NO_REPORTS.get(study.outcome, "none"))


def next_step(study: StudyRow) -> tuple[str, str]:
    """Give what a person does about a held or failed study: a sentence and a command line."""
    if study.outcome not in {Outcome.HELD, Outcome.FAILED}:
        return "", ""
    if study.outcome == Outcome.HELD:
        sentence = "No report leaves until an administrator has decided, below or by:"
        command = "triage conflict ls"
    else:
        sentence = "Once the cause is gone, have the study tried again:"
        command = f"triage queue retry {study.id}"
    return f"{NEXT_STEPS.get(study.reason_code or '', '')} {sentence}".strip(), command


def _meanwhile(study: StudyRow) -> str:
    """Say what happens to a study about which nothing is known yet."""
    count = study.instance_count
    instances = "1 instance" if count == 1 else f"{count} instances"
    return f"{instances}, {STATES.get(study.state, study.state)}."


def _problem(study: StudyRow) -> str:
    detail = study.reason_detail or ""
    stopped = study.outcome in {Outcome.HELD, Outcome.FAILED}
    return f"{mark(study).word}: {detail}" if stopped and detail not in study.sentence else ""


def _arrived(reports: Sequence[OutboxRow]) -> Report:
    """Say "committed" only where every PACS that was asked has promised."""
    asked = [one for one in reports if one.commitment]
    unkept = sum(one.commitment in {"denied", "overdue"} for one in asked)
    if unkept:
        return Report("refused", "not committed", f"{unkept} of {len(reports)} destinations")
    all_kept = asked and all(one.committed_at for one in asked)
    return Report("sent", "committed" if all_kept else "sent", _destinations(reports))


def _destinations(reports: Sequence[OutboxRow]) -> str:
    return ", ".join(dict.fromkeys(one.destination for one in reports))
