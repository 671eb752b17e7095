"""Which older study compares, and whether it is the same patient's. Nothing here asks anybody."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from triage.prior_sources import Comparable, Priors


@dataclass(frozen=True, slots=True)
class Patient:
    """Who somebody is: the three things that have to agree (PS3.3 C.7.1.1)."""

    patient_id: str
    issuer: str
    birth_date: str

    def of(self, issuer: str) -> Self:
        """Give the patient with the issuer that a source implies, where the header names none."""
        return replace(self, issuer=self.issuer or issuer)

    def doubt(self, other: "Patient", *, birth_date: bool) -> str:
        """Say what speaks against this being the same person; empty when nothing does.

        An empty Patient ID is nobody's. A missing birth date is a doubt where it is required.
        """
        if not self.patient_id or self.patient_id != other.patient_id:
            return "other-patient-id"
        if self.issuer != other.issuer:
            return "other-issuer"
        if self.birth_date != other.birth_date:
            return "other-birth-date"
        return "no-birth-date" if birth_date and not self.birth_date else ""


@dataclass(frozen=True, slots=True)
class Series:
    """A series as a source describes it."""

    series_instance_uid: str
    modality: str
    body_part: str = ""
    description: str = ""
    instance_count: int = 0


@dataclass(frozen=True, slots=True)
class Older:
    """An older study as a source, or our own rows, describe it."""

    study_instance_uid: str
    study_date: str
    study_time: str
    patient: Patient
    description: str = ""
    source: str = ""
    """Empty where we hold it ourselves."""
    instance_count: int = 0

    @property
    def when(self) -> tuple[str, str]:
        """Give what sorts by age."""
        return self.study_date, self.study_time


@dataclass(frozen=True, slots=True)
class Present:
    """The study at hand."""

    study_id: int
    study_instance_uid: str
    study_date: str
    study_time: str
    modality: str
    body_part: str
    description: str
    patient: Patient

    def rule(self, priors: Priors) -> Comparable | None:
        """Give the rule by which older studies compare with it; None when none does."""
        return next((one for one in priors.comparable if self._fits(one)), None)

    def is_newer_than(self, older: Older, priors: Priors) -> bool:
        """Tell whether a study is older, not too old, and not this one."""
        if older.study_instance_uid == self.study_instance_uid or not older.study_date:
            return False
        earliest = _day(self.study_date) - timedelta(days=priors.max_age_days)
        try:
            is_recent = _day(older.study_date) >= earliest
        except ValueError:
            return False
        return is_recent and older.when < (self.study_date, self.study_time)

    def date_range(self, priors: Priors) -> str:
        """Give the range of Study Date to ask for (PS3.4 C.2.2.2.5).

        Raises:
            ValueError: the study has no date.
        """
        day = _day(self.study_date)
        earliest = day - timedelta(days=priors.max_age_days)
        return f"{earliest:%Y%m%d}-{day:%Y%m%d}"

    def _fits(self, rule: Comparable) -> bool:
        if self.modality not in rule.modality:
            return False
        return _names(rule, self.body_part, (self.description,))


def comparable(
    present: Present, rule: Comparable, older: Older, ones: Iterable[Series]
) -> list[Series]:
    """Give the older study's series that compare with the study at hand."""
    modalities = {*rule.modality, *rule.with_modality} if rule.with_modality else {present.modality}
    found = [one for one in ones if one.modality in modalities]
    if not rule.body_part:
        return [one for one in found if one.body_part == present.body_part]
    return [
        one for one in found if _names(rule, one.body_part, (one.description, older.description))
    ]


def _names(rule: Comparable, body_part: str, descriptions: tuple[str, ...]) -> bool:
    """Tell whether the body part is the rule's, or, where it is missing, a description says so."""
    if not rule.body_part:
        return True
    if body_part.strip():
        return body_part.strip().upper() in rule.body_part
    said = " ".join(descriptions).lower()
    return any(word.lower() in said for word in rule.description_any)


def _day(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007 - a date of a hospital, without zone
