"""What a report says, statement by statement, read from the structured report's content tree.

Every result that is no DICOM object is written from these, so that none can say something else
than the structured report does, whichever of them reaches its reader first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from triage.errors import Broken
from triage.finding import Assessment
from triage.outputs.codes import QUALITATIVE_EVALUATIONS
from triage.outputs.context import ReportContext, uid
from triage.outputs.report_tree import KIND as REPORT
from triage.outputs.report_tree import tree
from triage.outputs.source import Source, read
from triage.outputs.tidy import quiet

TRACKING_UID: Final = codes.DCM.TrackingUniqueIdentifier
DEVICE_UID: Final = codes.DCM.DeviceObserverUID
_DEVICE: Final = {
    DEVICE_UID: "uid",
    codes.DCM.DeviceObserverName: "name",
    codes.DCM.DeviceObserverManufacturer: "manufacturer",
    codes.DCM.DeviceObserverModelName: "model",
    codes.DCM.DeviceObserverSerialNumber: "serial",
}
"""TID 1004."""
_DETAILS: Final = frozenset(
    {codes.DCM.AlgorithmParameters, codes.DCM.AlgorithmFamily, codes.DCM.AlgorithmManufacturer}
)
DIFFERS: Final = "its statements are not the structured report's"
_UNSPOKEN: Final = frozenset({"CONTAINER", "IMAGE", "COMPOSITE", "WAVEFORM"})
_PLACES: Final = frozenset({"SCOORD", "SCOORD3D", "TCOORD"})


@dataclass(frozen=True, slots=True)
class Statement:
    """One coded name and its value."""

    name: Code
    value: Code | float | str
    unit: Code | None = None
    """Of numbers (UCUM)."""

    @property
    def is_detail(self) -> bool:
        """Tell whether this is for machines: what ran with which parameters (TID 4019)."""
        return self.name in _DETAILS

    @property
    def in_words(self) -> str:
        """Give the value as people read it: a meaning, a number, a text."""
        if isinstance(self.value, Code):
            return self.value.meaning
        if isinstance(self.value, float):
            return f"{self.value:.4g}"
        return self.value


@dataclass(frozen=True, slots=True)
class Group:
    """Statements about one thing: a series that was analysed, or the whole study."""

    name: Code
    """Measurement Group (TID 1501), or Qualitative Evaluations (TID 1500 row 12)."""
    tracking_uid: str
    """Empty for the whole study."""
    statements: tuple[Statement, ...]

    def value(self, name: Code) -> Code | float | str | None:
        """Give the first value of this name."""
        return next((one.value for one in self.statements if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Device:
    """One device observer (TID 1004)."""

    uid: str
    name: str = ""
    manufacturer: str = ""
    model: str = ""
    serial: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """All that one report says."""

    title: Code
    procedure: Code
    """Of the images, not of the algorithm."""
    devices: tuple[Device, ...]
    groups: tuple[Group, ...]
    """One a detection, in the order of the assessment, and one of the whole study."""

    @property
    def study(self) -> Group:
        """Give what is said about the whole study."""
        return next(one for one in self.groups if one.name == QUALITATIVE_EVALUATIONS)

    @property
    def study_first(self) -> list[Group]:
        """Give the groups for people, who may stop after the first lines."""
        return [self.study, *(group for group in self.groups if group is not self.study)]


@dataclass(frozen=True, slots=True)
class Told:
    """What an output writes: the statements, and whom and what they are about."""

    said: Said
    source: Source
    report_uid: str
    """SOP Instance UID of the structured report that says the same."""


def tell(assessment: Assessment, context: ReportContext) -> Told:
    """Build the report's tree and read it; for one study's outputs the files are read once.

    Raises:
        Held, Broken, TryAgain: as ``triage.outputs.structured_report.build``.
    """
    for seen_assessment, seen_context, told in _latest:
        if seen_assessment is assessment and seen_context is context:
            return told
    with quiet():
        source = read(assessment)
        said = statements(tree(assessment, context, source))
    told = Told(said, source, uid(context, assessment, REPORT, "instance"))
    _latest[:] = [(assessment, context, told)]
    return told


_latest: Final[list[tuple[Assessment, ReportContext, Told]]] = []
"""The study at hand: three outputs of it, built and checked, would read its files six times."""


def statements(root: Dataset) -> Said:
    """Read a content tree, or a whole structured report as it was sent."""
    items = list(root.get("ContentSequence", ()))
    procedure = next(one for one in items if _name(one) == codes.DCM.ProcedureReported)
    return Said(
        title=_name(root),
        procedure=_code(procedure.ConceptCodeSequence[0]),
        devices=tuple(_devices(items)),
        groups=tuple(_groups(items)),
    )


def hold_back(what: str, problems: Mapping[str, bool]) -> None:
    """Let nothing leave that has a problem.

    Raises:
        Broken: one of them holds. The detail names it.
    """
    for problem, holds in problems.items():
        if holds:
            raise Broken(code="internal", detail=f"The {what} may not leave: {problem}")


def speaker(group: Group, said: Said) -> Device | None:
    """Give the device that a group of statements is from; of the whole study, if there is one."""
    if len(said.devices) == 1:
        return said.devices[0]
    name = f"{group.value(codes.DCM.AlgorithmName)} {group.value(codes.DCM.AlgorithmVersion)}"
    return next((one for one in said.devices if one.name == name), None)


def _groups(items: list[Dataset]) -> Iterator[Group]:
    for item in items:
        if item.ValueType != "CONTAINER" or _name(item) == codes.DCM.ImageLibrary:
            continue
        inner = [one for one in item.get("ContentSequence", ()) if one.ValueType == "CONTAINER"]
        for container in inner or [item]:
            said = tuple(_statements(container))
            tracking = next((one.value for one in said if one.name == TRACKING_UID), "")
            yield Group(_name(container), str(tracking), said)


def _statements(container: Dataset) -> Iterator[Statement]:
    for item in container.get("ContentSequence", ()):
        if item.ValueType not in _UNSPOKEN | _PLACES:
            yield _statement(item)
        yield from _statements(item)


def _statement(item: Dataset) -> Statement:
    name = _name(item)
    if item.ValueType == "CODE":
        return Statement(name, _code(item.ConceptCodeSequence[0]))
    if item.ValueType == "NUM":
        measured = item.MeasuredValueSequence[0]
        value = measured.get("FloatingPointValue", measured.NumericValue)
        return Statement(name, float(value), _code(measured.MeasurementUnitsCodeSequence[0]))
    keyword = {"UIDREF": "UID", "TEXT": "TextValue", "PNAME": "PersonName"}.get(item.ValueType)
    return Statement(name, str(item.get(keyword or item.ValueType.capitalize(), "")))


def _devices(items: list[Dataset]) -> Iterator[Device]:
    """Give each device observer: its UID, and what follows up to the next one's."""
    given: dict[str, str] = {}
    for item in items:
        word = _DEVICE.get(_name(item))
        if word is None:
            continue
        if word == "uid" and given:
            yield Device(**given)
            given = {}
        given[word] = str(item.UID if item.ValueType == "UIDREF" else item.TextValue)
    if given:
        yield Device(**given)


def _name(item: Dataset) -> Code:
    return _code(item.ConceptNameCodeSequence[0])


def _code(item: Dataset) -> Code:
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
    return Code(str(value), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
