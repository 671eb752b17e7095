import hashlib
import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from jinja2 import UndefinedError

from db.engine import connect
from triage.settings import IntendedUse, Settings
from triage.worklist import context
from triage.worklist.context import Context


def built(settings: Settings, mode: str = "triage") -> Context:
    use = IntendedUse.model_validate({"mode": mode})
    site = settings.site.model_copy(update={"intended_use": use})
    return context.build(settings.model_copy(update={"site": site}), connect("sqlite://"))


def test_the_limits_come_from_the_policy_and_the_site(settings: Settings) -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    clock = built(settings).clock(at)
    assert clock.as_of == at
    assert clock.promote_after == timedelta(hours=4)
    assert clock.overdue_after == timedelta(minutes=15)


def test_a_template_that_names_what_is_missing_breaks_and_never_shows_a_gap(
    settings: Settings,
) -> None:
    template = built(settings).templates.from_string("{{ nothing_of_this_name }}")
    with pytest.raises(UndefinedError):
        template.render()


def test_what_a_template_writes_is_escaped(settings: Settings) -> None:
    text = built(settings).templates.from_string("{{ one }}").render(one="<b>")
    assert text == "&lt;b&gt;"


@pytest.mark.parametrize(("mode", "banner"), [("research", True), ("triage", False)])
def test_only_research_wears_the_banner(settings: Settings, mode: str, *, banner: bool) -> None:
    values = {"viewer": None, "csrf_token": "", "target": "", "problem": "", "issuer": ""}
    text = built(settings, mode).templates.get_template("login.html").render(values)
    assert ("RESEARCH - NOT FOR CLINICAL USE" in text) is banner


def test_the_files_of_others_are_the_ones_written_down() -> None:
    folder = files("triage.worklist") / "static"
    table = (folder / "VENDORED.md").read_text()
    written = re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", table, re.MULTILINE)
    assert [name for name, _ in written] == ["htmx.min.js"]
    for name, digest in written:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
