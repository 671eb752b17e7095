"""What a report must know besides the assessment, and the UIDs that make twice the same as once."""

import hashlib
import hmac
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Final, Literal, Self

import pydicom

from triage.finding import Assessment, Detector, Document
from triage.settings import Reporting

MODEL_NAME: Final = "Triage"
DISCLAIMER: Final = (
    "For prioritization only. Not for diagnosis. Review full images per standard of care."
)
RESEARCH_BANNER: Final = "RESEARCH - NOT FOR CLINICAL USE"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The document that a new one supersedes (Predecessor Documents Sequence, PS3.3 C.17.2)."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str

    @classmethod
    def among(cls, former: Iterable[Document]) -> Self | None:
        """Give the place of the structured report among former documents, if there is one."""
        reports = (one for one in former if one.kind == "structured_report")
        return next((cls.of(one) for one in reports), None)

    @classmethod
    def of(cls, document: Document) -> Self:
        """Read the place of a document that we built ourselves."""
        tags = ["StudyInstanceUID", "SeriesInstanceUID"]
        header = pydicom.dcmread(BytesIO(document.content), specific_tags=list(tags))
        return cls(
            study_instance_uid=str(header.StudyInstanceUID),
            series_instance_uid=str(header.SeriesInstanceUID),
            sop_class_uid=document.sop_class_uid,
            sop_instance_uid=document.sop_instance_uid,
        )


def reported_among(former: Iterable[Document]) -> str:
    """Give the UID of the report that former documents are, or tell of; "" without any.

    A FHIR bundle names its report by the UID of the structured report, sent or not.
    """
    former = tuple(former)
    if (archived := Predecessor.among(former)) is not None:
        return archived.sop_instance_uid
    bundles = (one for one in former if one.kind == "fhir_bundle")
    return next((_reported_in(one.content) for one in bundles), "")


def _reported_in(bundle: bytes) -> str:
    resources = [entry["resource"] for entry in json.loads(bundle)["entry"]]
    reports = (one for one in resources if one["resourceType"] == "DiagnosticReport")
    return next(
        (str(one["identifier"][0]["value"]).removeprefix("urn:oid:") for one in reports), ""
    )


@dataclass(frozen=True)
class ReportContext:
    """What every output is told: who we are, how we are used, what time it is."""

    site_key: bytes
    """At least 16 secret bytes, the same for ever: whoever knew it could take our UIDs first."""
    reporting: Reporting
    mode: Literal["triage", "research"]
    version: str
    """Of this software."""
    now: datetime
    """Aware, UTC. The only clock of a document."""
    predecessor: Predecessor | None = None
    replaced_uid: str = ""
    """Of the report that the new one supersedes, also where none of it went to an archive."""
    companions: frozenset[str] = frozenset()
    """Kinds of OUTPUTS that go wherever the report goes, so that it may point at them."""
    results: Path | None = None
    """Where anomaly maps are kept (``triage.maps``); None where none are."""

    @cached_property
    def config_digest(self) -> str:
        """Give the SHA-256 of everything configurable that shapes a document."""
        companions = sorted(self.companions)
        parts = [self.reporting.model_dump(mode="json"), self.mode, self.version, companions]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def installation(self) -> str:
        """Give a serial number of this installation: 16 hexadecimal digits."""
        return hmac.new(self.site_key, b"installation", hashlib.sha256).hexdigest()[:16]


def uid(context: ReportContext, assessment: Assessment, kind: str, which: str) -> str:
    """Give the UID of one thing in one output of one assessment, the same every time.

    A keyed hash: nobody without the site's key can predict a report's UID and store an empty
    object under it first. PS3.5 B.2: 2.25 and the decimal value of a UUID; 122 bits are the hash.
    """
    ref = assessment.study.ref
    parts = [
        ref.study_instance_uid,
        ref.generation,
        sorted((instance.sop_instance_uid, instance.sha256) for instance in ref.instances),
        sorted({detection.detector.artifact_sha256 for detection in assessment.detections}),
        kind,
        context.config_digest,
        which,
        *_what_failed(assessment),
    ]
    digest = hmac.new(context.site_key, json.dumps(parts).encode(), hashlib.sha256).digest()
    return _as_uid(digest)


def _what_failed(assessment: Assessment) -> list[object]:
    """Tell apart what one generation can come to without any change of a detector."""
    said: list[object] = [
        [one.detector, one.series_instance_uid, one.reason.code] for one in assessment.refusals
    ]
    if not assessment.detections:
        reason = assessment.decision.reason
        said.append([assessment.decision.outcome, reason.code if reason else ""])
    return said


def device_uid(detector: Detector) -> str:
    """Give the Device UID: one for each set of weights and thresholds, equal at every site."""
    return _as_uid(hashlib.sha256(f"device {detector.artifact_sha256}".encode()).digest())


def software_uid(context: ReportContext) -> str:
    """Give the Device UID of the software itself, for reports without any detector."""
    return _as_uid(hashlib.sha256(f"software {context.version}".encode()).digest())


def _as_uid(digest: bytes) -> str:
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
