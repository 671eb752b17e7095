"""One file per kind of result.

Each module of the table offers ``build(assessment, context) -> Document``,
``check(document, assessment, context)``, which raises Broken when the document must not leave,
and ``warm()``, which makes the first build of a process as fast as the others.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

from triage.errors import ConfigError

if TYPE_CHECKING:
    from triage.finding import Assessment, Document
    from triage.outputs.context import ReportContext

OUTPUTS: Final[Mapping[str, str]] = {
    "structured_report": "triage.outputs.structured_report",
    "key_objects": "triage.outputs.key_objects",
    "presentation_state": "triage.outputs.presentation_state",
    "secondary_capture": "triage.outputs.secondary_capture",
    "parametric_map": "triage.outputs.parametric_map",
    "segmentation": "triage.outputs.segmentation",
    "hl7_oru": "triage.outputs.hl7_oru",
    "fhir_bundle": "triage.outputs.fhir_bundle",
    "webhook": "triage.outputs.webhook",
    "mail": "triage.outputs.mail",
    "plain_text": "triage.outputs.plain_text",
}


class Output(Protocol):
    """What every output module offers."""

    def build(self, assessment: "Assessment", context: "ReportContext") -> "Document":
        """Build the document. Pure but for reading the headers of the study's files."""
        ...

    def check(
        self, document: "Document", assessment: "Assessment", context: "ReportContext"
    ) -> None:
        """Read the document back and raise Broken if it may not leave."""
        ...

    def warm(self) -> None:
        """Do once what only the first build of a process pays for."""
        ...


def load(kind: str) -> Output:
    """Give the output module of a kind.

    Raises:
        ConfigError: OUTPUTS has no such kind.
    """
    try:
        name = OUTPUTS[kind]
    except KeyError:
        msg = f"site.yaml: outputs: unknown kind {kind!r}; known: {', '.join(sorted(OUTPUTS))}"
        raise ConfigError(msg) from None
    return cast("Output", import_module(name))
