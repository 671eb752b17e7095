"""Reports: what the destinations ask for, each kind once, none unchecked."""

from types import ModuleType

import pytest

from tests.triage.outputs import studies
from triage import outputs
from triage.destinations import Dimse
from triage.errors import Broken, ConfigError
from triage.finding import Assessment, Document
from triage.outputs import structured_report
from triage.outputs.context import ReportContext
from triage.report import report, warm


def destination(name: str, *kinds: str) -> Dimse:
    return Dimse(name=name, ae_title="PACS", host="127.0.0.1", port=104, outputs=kinds)


@pytest.fixture
def ct() -> Assessment:
    return studies.assessed([studies.bundled("CT_small.dcm")])


def test_two_destinations_share_one_document(ct: Assessment) -> None:
    to = [destination("one", "structured_report"), destination("two", "structured_report")]
    (one, document), (two, same) = report(ct, to, studies.context())
    assert (one, two) == ("one", "two")
    assert document is same
    assert document == structured_report.build(ct, studies.context())


def test_without_destinations_nothing_is_built(ct: Assessment) -> None:
    assert report(ct, [], studies.context()) == ()


def test_an_unknown_kind_names_the_known_ones(ct: Assessment) -> None:
    with pytest.raises(ConfigError, match="structured_report"):
        report(ct, [destination("one", "telegram")], studies.context())


def test_a_document_that_fails_its_check_does_not_leave(
    ct: Assessment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(assessment: Assessment, context: ReportContext) -> Document:
        document = structured_report.build(assessment, context)
        return Document(document.kind, document.sop_class_uid, "1.2.3", document.content)

    module = ModuleType("tests.mislabelled")
    module.build, module.check = build, structured_report.check  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    monkeypatch.setattr(outputs, "OUTPUTS", {"mislabelled": module.__name__})
    with pytest.raises(Broken, match="SOPInstanceUID"):
        report(ct, [destination("one", "mislabelled")], studies.context())


def test_every_kind_of_the_table_is_an_output() -> None:
    for kind in outputs.OUTPUTS:
        module = outputs.load(kind)
        assert all(callable(getattr(module, name)) for name in ("build", "check", "warm"))


def test_warming_up_reaches_every_kind_asked_for() -> None:
    warm([destination("one", "structured_report")])
    with pytest.raises(ConfigError):
        warm([destination("one", "telegram")])
