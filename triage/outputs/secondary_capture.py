"""The result as a picture of text: a Secondary Capture that every archive and viewer shows.

One page says what the report says in words: no pixel of the study is in it, nobody's name, and no
location in either mode.
"""

from typing import Final

import highdicom
import numpy as np
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from triage.finding import Assessment, Detection, Document
from triage.outputs.codes import run_summary
from triage.outputs.context import DISCLAIMER, MODEL_NAME, RESEARCH_BANNER, ReportContext, uid
from triage.outputs.gate import check_header, must, read_back
from triage.outputs.header import finish, identification, local, say_side, warm, written
from triage.outputs.page import render
from triage.outputs.source import read
from triage.outputs.tidy import TYPE_2, clean, quiet

__all__ = ["KIND", "build", "check", "page", "warm"]

KIND: Final = "secondary_capture"
_PRESENT: Final = (
    "ConversionType", "ImageType", "BurnedInAnnotation", "DerivationDescription", "PixelData",
    "ContentDate", "ContentTime", "PatientOrientation",
)  # fmt: skip


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the page of one assessment: same input, same UIDs, same bytes.

    Raises:
        Held, Broken, TryAgain: as ``triage.outputs.source.read``.
    """
    with quiet():
        source = read(assessment)
        at = local(context, source)
        made = SCImage(
            pixel_array=render(page(assessment, context)),
            photometric_interpretation="MONOCHROME2",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "F"),
            study_instance_uid=source.study_instance_uid,
            **identification(KIND, assessment, context, at),
        )
        for element in source.header:
            if element.keyword != "ReferencedRequestSequence":
                made.add(element)
        _finish(made)
        finish(made, assessment, context, source, at)
        say_side(made, assessment)
        made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = (
            made.ContentDate, made.ContentTime,
        )  # fmt: skip
        content = written(made)
    sop_class_uid = str(SecondaryCaptureImageStorage)
    return Document(KIND, sop_class_uid, uid(context, assessment, KIND, "instance"), content)


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the page back with highdicom; its pixels must be the assessment's words, no others.

    Raises:
        Broken: it must not leave.
    """
    with quiet():
        made = read_back(document, highdicom.imread)
        check_header(made, document, assessment, _PRESENT)
        must(made.ConversionType == "WSD", "its ConversionType is not WSD")
        wanted = render(page(assessment, context))
        pixels = made.get_frame(1)
        same = pixels.shape == wanted.shape and bool((np.asarray(pixels) == wanted).all())
        must(same, "its pixels are not the assessment's words")


def page(assessment: Assessment, context: ReportContext) -> list[str]:
    """Give what the page says, paragraph by paragraph. No patient data."""
    decision = assessment.decision
    research = [RESEARCH_BANNER, ""] if context.mode == "research" else []
    groups = [line for found in assessment.detections for line in _detection(found)]
    refused = [f"{one.detector}: no result ({one.reason.sentence})" for one in assessment.refusals]
    reason = [f"Reason: {decision.reason.sentence}"] if decision.reason else []
    return [
        *research,
        f"{MODEL_NAME}: {decision.outcome.value.upper()}",
        "AI result, not for diagnosis, unverified",
        "",
        clean(decision.sentence),
        *reason,
        f"Proposed worklist priority: {decision.priority_name}" if decision.priority_name else "",
        f"Run: {run_summary(assessment).meaning}",
        "",
        *map(clean, groups),
        *map(clean, refused),
        "",
        DISCLAIMER,
        f"{MODEL_NAME} {context.version}, {context.now:%Y-%m-%d %H:%M} UTC",
    ]


def _detection(found: Detection) -> list[str]:
    return [
        f"{found.detector.name} {found.detector.version}: p = {found.p_value:.4g}, "
        f"score {found.score:.4g}, {len(found.sop_instance_uids)} images",
        f"    against {found.calibration.n} healthy studies of {found.calibration.stratum}; "
        f"weights {found.detector.weights_sha256[:12]}",
    ]


def _finish(made: Dataset) -> None:
    """Say that this is text from a workstation, of no side of any patient."""
    made.ConversionType = "WSD"
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    made.PatientOrientation = None
    made.BurnedInAnnotation = "NO"
    made.DerivationDescription = "Page of text, written by software"
    made.SpecificCharacterSet = "ISO_IR 192"
    for keyword in TYPE_2:
        if keyword not in made:
            setattr(made, keyword, "")
