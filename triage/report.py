"""Report: an assessment becomes the documents that the destinations ask for and can take."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from triage import outputs
from triage.destinations import Destination
from triage.finding import Assessment, Document
from triage.outputs import fit
from triage.outputs.context import ReportContext

Accepted = Mapping[str, Collection[str]]
"""By destination's name the SOP classes it said it takes; a name is missing if it was not asked."""


def report(
    assessment: Assessment,
    destinations: Sequence[Destination],
    context: ReportContext,
    accepted: Accepted | None = None,
) -> tuple[tuple[str, Document], ...]:
    """Build each kind once, however many destinations want it, and let none leave unchecked.

    Gives (destination's name, document) pairs. Left out are kinds that have nothing to say about
    this study, and kinds that a destination said it does not take.

    Raises:
        Held: the study's instances disagree about the patient.
        Broken: a document could not be built, or did not pass the gate in front of the outbox.
        TryAgain: a source file could not be read just now.
        ConfigError: a destination asks for a kind that OUTPUTS does not have, or that the mode
            forbids.
    """
    wanted = {
        to.name: _wanted(to, assessment, context, (accepted or {}).get(to.name))
        for to in destinations
    }
    context = replace(context, companions=_companions(list(wanted.values())))
    documents = {}
    for kind in dict.fromkeys(kind for asked in wanted.values() for kind in asked):
        output = outputs.load(kind)
        documents[kind] = output.build(assessment, context)
        output.check(documents[kind], assessment, context)
    return tuple((name, documents[kind]) for name, asked in wanted.items() for kind in asked)


def kinds(destinations: Iterable[Destination]) -> tuple[str, ...]:
    """Give the kinds of document asked for, each once, in the order of the configuration."""
    return tuple(dict.fromkeys(kind for to in destinations for kind in to.outputs))


def warm(destinations: Iterable[Destination], mode: str = "research") -> None:
    """Pay what only a process's first build costs, before the first study comes.

    Raises:
        ConfigError: a destination asks for a kind that there is not, or that the mode forbids.
    """
    wanted = kinds(destinations)
    fit.check_mode(wanted, mode)
    for kind in wanted:
        outputs.load(kind).warm()


def _wanted(
    to: Destination,
    assessment: Assessment,
    context: ReportContext,
    accepted: Collection[str] | None,
) -> tuple[str, ...]:
    fit.check_mode(to.outputs, context.mode)
    fitting = [kind for kind in to.outputs if fit.fits(kind, assessment, context)]
    return fit.taken(fitting, accepted)


def _companions(wanted: Sequence[Collection[str]]) -> frozenset[str]:
    """Give the kinds of DICOM object that go wherever the report goes: it may point at them."""
    beside = [set(asked) for asked in wanted if fit.REPORT in asked]
    return (
        frozenset(set.intersection(*beside) & set(fit.SOP_CLASSES) - {fit.REPORT})
        if beside
        else frozenset()
    )
