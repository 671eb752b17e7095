"""What every object of ours must show before it may leave, whatever its kind."""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, Final

from pydicom.dataset import Dataset

from triage.errors import Broken
from triage.finding import Assessment, Document
from triage.outputs.tidy import TYPE_2, is_value, plain, printable

ALWAYS: Final = (
    *TYPE_2, "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Modality", "Manufacturer",
    "SoftwareVersions", "ContributingEquipmentSequence",
)  # fmt: skip
"""What each of them has, empty or not."""


def must(ok: object, otherwise: str) -> None:
    """Stop an object.

    Raises:
        Broken: ``ok`` is not true. The detail says what is amiss, without values.
    """
    if not ok:
        raise Broken(code="internal", detail=f"The report may not leave: {otherwise}")


def read_back(document: Document, reader: Callable[[BytesIO], Any]) -> Any:  # noqa: ANN401 - its class
    """Give the object as another library reads it.

    Raises:
        Broken: that library dislikes it.
    """
    try:
        return reader(BytesIO(document.content))
    except Exception as why:  # noqa: BLE001 - whatever the reader dislikes means the same
        detail = (
            f"The report may not leave: reading back its {document.kind} gave {type(why).__name__}"
        )
        raise Broken(code="internal", detail=detail) from None


def check_header(
    made: Dataset, document: Document, assessment: Assessment, present: Iterable[str] = ()
) -> None:
    """Hold an object's header against the study that it is about.

    Raises:
        Broken: it names another patient or study, or lacks what its kind must have.
    """
    study = assessment.study
    expected = {
        "SOPClassUID": document.sop_class_uid,
        "SOPInstanceUID": document.sop_instance_uid,
        "StudyInstanceUID": study.ref.study_instance_uid,
    }
    for keyword, value in expected.items():
        must(str(made.get(keyword, "")) == value, f"its {keyword} is not what it must be")
    meta = made.file_meta
    same = meta.get("MediaStorageSOPInstanceUID") == document.sop_instance_uid
    must(same, "its file meta names another object")
    missing = [keyword for keyword in (*ALWAYS, *present) if keyword not in made]
    must(not missing, f"it lacks {', '.join(missing)}")
    must(is_value(made, "PatientID", study.patient.patient_id), "PatientID is not the study's")
    must(_same_name(made, study.patient.patient_name), "PatientName is not the study's")
    received = {one.sop_instance_uid for one in study.ref.instances}
    must(document.sop_instance_uid not in received, "its UID is one of the study's own")
    in_series = {one.series_instance_uid for one in study.series}
    must(str(made.SeriesInstanceUID) not in in_series, "its series is one of the study's own")


def _same_name(made: Dataset, name: str) -> bool:
    ours, theirs = plain(made, "PatientName"), _folded(printable(name))
    return not theirs or theirs in {_folded(ours), _folded(ours.partition("\\")[0])}


def _folded(name: str) -> str:
    return name.rstrip("^= ").casefold()
