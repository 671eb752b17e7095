"""The content tree of a reader's report: TID 1500, 1501, 1001 and 1003 of PS3.16."""

from collections.abc import Mapping, Sequence
from typing import Final

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    CompositeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    LanguageOfContentItemAndDescendants,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    RelationshipTypeValues,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from triage.outputs.assessed import REASONS, Tracked, Verdict, Word
from triage.outputs.codes import ENGLISH, INTENDED_USE, QUALITATIVE_EVALUATIONS, SCHEME
from triage.outputs.context import DISCLAIMER, RESEARCH_BANNER
from triage.outputs.items import MODIFIER, OBSERVER, coded, concept, container, pointed, said
from triage.outputs.tidy import clean

ASSESSMENT: Final = Code("READER-ASSESSMENT", SCHEME, "Reader's assessment of the algorithm")
WHY: Final = Code("ASSESSMENT-REASON", SCHEME, "Reason for the reader's assessment")
VERDICTS: Final[Mapping[Verdict, Code]] = {
    Verdict.AGREE: Code("AGREE", SCHEME, "Reader agrees"),
    Verdict.DISAGREE: Code("DISAGREE", SCHEME, "Reader disagrees"),
    Verdict.UNSURE: Code("UNSURE", SCHEME, "Reader is unsure"),
    Verdict.MISSED: Code("MISSED", SCHEME, "A finding was missed"),
    Verdict.WITHDRAWN: Code("WITHDRAWN", SCHEME, "Reader withdrew the assessment"),
}


def tree(
    words: Sequence[Word],
    reader: str,
    source: Dataset,
    found: Sequence[Tracked],
    *,
    research: bool,
) -> ContainerContentItem:
    """Build the root container: what one person says of the findings of one report."""
    known = {one.tracking_uid: one for one in found}
    of_findings = [word for word in words if word.tracking_uid]
    of_study = [word for word in words if not word.tracking_uid]
    content = ContentSequence()
    content.extend(LanguageOfContentItemAndDescendants(CodedConcept.from_code(ENGLISH)))
    content.extend(_observer(reader))
    content.append(coded(codes.DCM.ProcedureReported, _procedure(source), MODIFIER))
    if of_findings:
        groups = [_group(word, known[word.tracking_uid], source) for word in of_findings]
        content.append(container(codes.DCM.ImagingMeasurements, groups))
    said_of_all = [one for word in of_study for one in _said(word, source)]
    said_of_all.append(said(INTENDED_USE, DISCLAIMER))
    if research:
        said_of_all.append(said(INTENDED_USE, RESEARCH_BANNER))
    content.append(container(QUALITATIVE_EVALUATIONS, said_of_all))
    root = ContainerContentItem(
        name=concept(codes.cid7021.ImagingMeasurementReport), template_id="1500"
    )
    root.ContentSequence = content
    return root


def _observer(reader: str) -> ObservationContext:
    """TID 1001 and 1003: a person, by the name of the account."""
    return ObservationContext(
        observer_person_context=ObserverContext(
            observer_type=codes.DCM.Person,
            observer_identifying_attributes=PersonObserverIdentifyingAttributes(
                name=f"{clean(reader, 60).replace('=', ' ').replace('^', ' ')}^",
                login_name=clean(reader, 64),
            ),
        )
    )


def _group(word: Word, finding: Tracked, source: Dataset) -> ContainerContentItem:
    """TID 1501 under the finding's own tracking identifiers."""
    group = ContainerContentItem(
        name=concept(codes.DCM.MeasurementGroup),
        relationship_type=RelationshipTypeValues.CONTAINS,
        template_id="1501",
    )
    group.ContentSequence = ContentSequence(
        [
            said(codes.DCM.TrackingIdentifier, finding.tracking_identifier, OBSERVER),
            pointed(codes.DCM.TrackingUniqueIdentifier, finding.tracking_uid, OBSERVER),
            *_said(word, source),
        ]
    )
    return group


def _said(word: Word, source: Dataset) -> list[ContentItem]:
    """Give the verdict, inferred from the algorithm's report, and its reason if there is one."""
    verdict = CodeContentItem(
        name=concept(ASSESSMENT),
        value=concept(VERDICTS[word.verdict]),
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    verdict.ContentSequence = ContentSequence(
        [
            CompositeContentItem(
                name=concept(codes.DCM.SourceOfMeasurement),
                referenced_sop_class_uid=str(source.SOPClassUID),
                referenced_sop_instance_uid=str(source.SOPInstanceUID),
                relationship_type=RelationshipTypeValues.INFERRED_FROM,
            )
        ]
    )
    if not word.reason:
        return [verdict]
    reason = Code(word.reason.upper(), SCHEME, REASONS[word.reason])
    return [verdict, coded(WHY, reason)]


def _procedure(source: Dataset) -> Code:
    """Give the procedure that the algorithm's report names."""
    wanted = codes.DCM.ProcedureReported.value
    for item in source.ContentSequence:
        if item.get("ConceptNameCodeSequence") and item.get("ConceptCodeSequence"):
            name, value = item.ConceptNameCodeSequence[0], item.ConceptCodeSequence[0]
            if name.CodeValue == wanted:
                return Code(value.CodeValue, value.CodingSchemeDesignator, value.CodeMeaning)
    unknown: Code = codes.cid100.ImagingProcedure
    return unknown
