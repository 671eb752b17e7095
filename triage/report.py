"""Report: an assessment becomes the documents that the destinations ask for."""

from collections.abc import Iterable, Sequence

from triage import outputs
from triage.destinations import Destination
from triage.finding import Assessment, Document
from triage.outputs.context import ReportContext


def report(
    assessment: Assessment, destinations: Sequence[Destination], context: ReportContext
) -> tuple[Document, ...]:
    """Build each kind once, however many destinations want it, and let none leave unchecked.

    Raises:
        Held: the study's instances disagree about the patient.
        Broken: a document could not be built, or did not pass the gate in front of the outbox.
        TryAgain: a source file could not be read just now.
        ConfigError: a destination asks for a kind that OUTPUTS does not have.
    """
    documents = []
    for kind in kinds(destinations):
        output = outputs.load(kind)
        document = output.build(assessment, context)
        output.check(document, assessment, context)
        documents.append(document)
    return tuple(documents)


def kinds(destinations: Iterable[Destination]) -> tuple[str, ...]:
    """Give the kinds of document asked for, each once, in the order of the configuration."""
    return tuple(dict.fromkeys(kind for to in destinations for kind in to.outputs))


def warm(destinations: Iterable[Destination]) -> None:
    """Pay what only a process's first build costs, before the first study comes."""
    for kind in kinds(destinations):
        outputs.load(kind).warm()
