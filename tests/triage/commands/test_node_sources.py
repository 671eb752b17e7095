"""``triage node`` for those that we ask, and those that we answer, beside site.yaml."""

import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from sqlalchemy import select

from db.engine import Database, connect
from db.evidence import SourceCountRow
from db.states import StudyState
from tests.builders import dx
from tests.certificates import Keys
from tests.servers import dcmqrscp, free_port, storescp
from tests.triage.commands.cli import node, triage, write_site
from tests.triage.peers import REFUSED
from tests.triage.priors.world import World, radiograph
from tests.triage.receive import conftest as receiving
from tests.triage.receive.conftest import Start
from tests.workers import test_evidence as evidence
from tests.workers.house import house
from tests.workers.test_evidence import NAMES, ask_again, closing, source, study_of, three
from tests.workers.test_promises import DX, Requester, ask, hearing, work
from tests.workers.test_road import NOWHERE
from triage import commitment
from triage import settings as configuration
from triage.commands import doctor
from triage.commands.common import FAILED, OK, SETUP, USAGE
from triage.dimse import VERIFICATION
from triage.errors import ConfigError
from triage.receive.listener import Listener
from triage.spool import Spool

listener = evidence.listener
start = receiving.start
"""Fixtures, for here too."""
BY_HAND = """\
count_sources:   # who knows
  # the big archive
  - {name: big, ae_title: BIG, host: 10.0.0.1, port: 104}
requesters:
- ae_title: CT1   # room 3
  host: 10.0.0.7
  port: 104
"""


def shown(state: Path) -> list[tuple[str, ...]]:
    columns = ("does", "name", "ae_title", "where", "of", "tls", "in")
    return [tuple(row[name] for name in columns) for row in node(state, "ls")]


def ticks(state: Path, *words: object) -> tuple[int, dict[str, bool]]:
    answer = triage("node", "test", *words, "--state", state, "--json")
    return answer.code, {line["name"]: line["ok"] for line in answer.json}


class TestChanging:
    def test_what_is_added_holds_is_listed_and_goes_again(self, tmp_path: Path) -> None:
        node(
            tmp_path, "add", "PACS", "--counts", "10.0.0.2:104", "--of", "CT1", "--of", "MR1",
            "--priors", "10.0.0.2:105", "--tls",
        )  # fmt: skip
        node(tmp_path, "add", "CT1", "--from", "10.0.0.7", "--answers", "10.0.0.7:104")
        site = configuration.load(tmp_path).site
        [counted], [prior] = site.completeness.sources, site.priors.sources
        [requester] = site.commitment.requesters
        assert (counted.name, counted.host, counted.port) == ("pacs", "10.0.0.2", 104)
        assert (counted.of, counted.calling_ae_title) == (("CT1", "MR1"), "TRIAGE")
        assert counted.tls is not None
        assert counted.tls.ca_file == tmp_path / "tls" / "trusted.pem"
        assert (prior.name, prior.port, prior.method) == ("pacs", 105, "get")
        assert (requester.ae_title, requester.host, requester.port) == ("CT1", "10.0.0.7", 104)
        assert shown(tmp_path) == [
            ("sends", "", "CT1", "10.0.0.7", "", "", "nodes.yaml"),
            ("counts", "pacs", "PACS", "10.0.0.2:104", "CT1, MR1", "by authority", "nodes.yaml"),
            ("gets answers", "", "CT1", "10.0.0.7:104", "", "", "nodes.yaml"),
            ("has priors", "pacs", "PACS", "10.0.0.2:105", "", "by authority", "nodes.yaml"),
        ]
        assert node(tmp_path, "rm", "pacs") == {"removed": 2}
        assert node(tmp_path, "rm", "CT1") == {"removed": 2}
        site = configuration.load(tmp_path).site
        assert (site.completeness.sources, site.commitment.requesters) == ((), ())
        assert site.priors.sources == ()
        assert node(tmp_path, "ls") == []

    def test_we_call_by_the_name_that_our_listener_has(self, tmp_path: Path) -> None:
        write_site(tmp_path, listener={"ae_title": "AI"})
        node(tmp_path, "add", "PACS", "--counts", "h:104", "--priors", "h:104")
        site = configuration.load(tmp_path).site
        assert site.completeness.sources[0].calling_ae_title == "AI"
        assert site.priors.sources[0].calling_ae_title == "AI"

    def test_those_of_site_yaml_stay_beside_them(self, tmp_path: Path) -> None:
        at = {"host": "10.0.0.1", "port": 104}
        write_site(
            tmp_path,
            completeness={"sources": [{"name": "old", "ae_title": "OLD", **at}]},
            commitment={"requesters": [{"ae_title": "MR1", **at}]},
            priors={"sources": [{"name": "old", "ae_title": "OLD", **at}]},
        )
        where = "10.0.0.2:104"
        node(tmp_path, "add", "NEW", "--counts", where, "--answers", where, "--priors", where)
        site = configuration.load(tmp_path).site
        assert [one.name for one in site.completeness.sources] == ["old", "new"]
        assert [one.ae_title for one in site.commitment.requesters] == ["MR1", "NEW"]
        assert [one.name for one in site.priors.sources] == ["old", "new"]
        assert [(row[0], row[2], row[-1]) for row in shown(tmp_path)] == [
            ("counts", "OLD", "site.yaml"),
            ("gets answers", "MR1", "site.yaml"),
            ("has priors", "OLD", "site.yaml"),
            ("counts", "NEW", "nodes.yaml"),
            ("gets answers", "NEW", "nodes.yaml"),
            ("has priors", "NEW", "nodes.yaml"),
        ]
        answer = triage("node", "rm", "MR1", "--state", tmp_path)
        assert (answer.code, "take it out there" in answer.err) == (SETUP, True)

    def test_what_a_person_wrote_around_it_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "nodes.yaml"
        path.write_text(BY_HAND)
        node(tmp_path, "add", "NEW", "--counts", "10.0.0.2:104", "--answers", "10.0.0.2:104")
        assert "# added " in path.read_text()
        assert len(configuration.load(tmp_path).site.completeness.sources) == 2
        node(tmp_path, "rm", "NEW")
        assert path.read_text() == BY_HAND

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("BIG", "--from", "any", "--counts", "h:1"), "there is a source of counts big; give"),
            (("CT1", "--from", "any", "--answers", "h:1"), "`triage node rm CT1` takes it out"),
            (("X", "--from", "any", "--of", "CT1"), "say --counts HOST:PORT too"),
            (("X", "--from", "any", "--tls"), "say where it is called"),
            (("X", "--counts", "h:1", "--of", "A\\B"), "1 to 16 ASCII"),
            (("X",), "--answers HOST:PORT (it hears whether we keep what it sent)"),
        ],
    )
    def test_what_makes_no_sense_changes_nothing(
        self, tmp_path: Path, words: tuple[str, ...], said: str
    ) -> None:
        (tmp_path / "nodes.yaml").write_text(BY_HAND)
        answer = triage("node", "add", *words, "--state", tmp_path)
        assert answer.code == SETUP
        assert said in answer.err
        assert (tmp_path / "nodes.yaml").read_text() == BY_HAND

    @pytest.mark.parametrize("option", ["--to", "--counts", "--answers", "--priors"])
    def test_a_place_without_a_port_is_named_by_its_option(
        self, tmp_path: Path, option: str
    ) -> None:
        answer = triage("node", "add", "X", option, "nowhere", "--state", tmp_path)
        assert (answer.code, option in answer.err) == (USAGE, True)

    @pytest.mark.parametrize(
        ("section", "key", "noun", "one"),
        [
            ("completeness", "count_sources", "source of counts big", {"name": "big"}),
            ("commitment", "requesters", "requester BIG", {}),
            ("priors", "prior_sources", "source of priors big", {"name": "big"}),
        ],
    )
    def test_two_of_one_name_are_refused_wherever_they_stand(
        self, tmp_path: Path, section: str, key: str, noun: str, one: dict[str, str]
    ) -> None:
        here = {"ae_title": "BIG", "host": "10.0.0.1", "port": 104, **one}
        twice = f".*two .*are named {one.get('name', 'BIG')};"
        (tmp_path / "nodes.yaml").write_text(yaml.safe_dump({key: [here, here]}))
        with pytest.raises(ConfigError, match=rf"nodes\.yaml: {key}: {twice}"):
            configuration.load(tmp_path)
        (tmp_path / "nodes.yaml").write_text(yaml.safe_dump({key: [here]}))
        word = "requesters" if section == "commitment" else "sources"
        write_site(tmp_path, **{section: {word: [here]}})
        with pytest.raises(ConfigError, match=rf"nodes\.yaml: site\.yaml has a {noun} too"):
            configuration.load(tmp_path)
        (tmp_path / "nodes.yaml").unlink()
        option = {"completeness": "--counts", "commitment": "--answers", "priors": "--priors"}
        answer = triage("node", "add", "BIG", option[section], "h:1", "--state", tmp_path)
        assert answer.code == SETUP
        assert not (tmp_path / "nodes.yaml").exists()
        write_site(tmp_path, **{section: {word: [here, here]}})
        with pytest.raises(ConfigError, match=rf"site\.yaml: {section}\.{word}: {twice}"):
            configuration.load(tmp_path)

    def test_changes_are_audited_with_what_and_where(self, state: Path) -> None:
        node(state, "add", "CT1", "--from", "10.0.0.7", "--answers", "10.0.0.7:104")
        node(state, "rm", "CT1")
        answer = triage("audit", "query", "--state", state, "--json", "--event", "110113")
        told = {row["event_type"]: json.dumps(row["detail"]) for row in answer.json}
        for kind in ("node.added", "node.removed"):
            assert "sends 10.0.0.7" in told[kind]
            assert "gets answers 10.0.0.7:104" in told[kind]


class TestCounts:
    def test_a_source_that_was_added_is_asked_and_closes_the_study(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        images = three()
        with source([3]) as (port, asked):
            node(tmp_path / "a", "add", "SOURCE", "--counts", f"127.0.0.1:{port}")
            with house(
                sqlite_database, tmp_path / "a", routes=NOWHERE,
                completeness=NAMES | {"count_after_s": 0.001, "count_confirm_s": 0.001},
            ) as site:  # fmt: skip
                site.receive(*images)
                ask_again(site)
                assert ask_again(site).state == StudyState.REJECTED
                assert (closing(site).kind, closing(site).expected) == ("count", 3)
        assert [one.StudyInstanceUID for one in asked] == [study_of(images)] * 2

    @pytest.mark.parametrize(("of", "who"), [("MODALITY", "mine"), ("CT9", "anybodys")])
    def test_a_source_that_names_the_sender_goes_before_one_added_later_for_anybody(
        self, sqlite_database: Database, tmp_path: Path, of: str, who: str
    ) -> None:
        node(tmp_path / "a", "add", "MINE", "--counts", "127.0.0.1:1", "--of", of)
        node(tmp_path / "a", "add", "ANYBODYS", "--counts", "127.0.0.1:1")
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE, completeness=NAMES) as site:
            site.receive(*three())
            with site.database.reading() as session:
                assert session.scalars(select(SourceCountRow)).one().source == who


def test_the_command_that_a_lost_report_names_lets_it_reach_its_requester(
    sqlite_database: Database, tmp_path: Path, listener: Listener
) -> None:
    image, requester = dx(), Requester()
    with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
        site.receive(image)
        ask(listener.port, "2.25.5", (DX, str(image.SOPInstanceUID)))
        said = work(site).last_error or ""
    assert "triage node add ASKER --answers HOST:PORT" in said
    with hearing(requester) as port:
        command = said.rpartition(": triage ")[2].replace("HOST:PORT", f"127.0.0.1:{port}")
        assert triage(*command.split(), "--state", tmp_path / "b").code == OK
        with house(sqlite_database, tmp_path / "b", routes=NOWHERE) as site:
            row = work(site)
    assert (row.state, row.last_error) == ("reported", None)
    [(kind, told)] = requester.told
    assert (kind, told.TransactionUID) == (1, "2.25.5")


@REFUSED
def test_a_source_of_priors_that_was_added_is_asked(state: Path) -> None:
    settings = configuration.load(state)
    world = World(settings, connect(settings.database_url), Spool(settings.spool))
    world.present(radiograph("now", "20240101"))
    world.database.dispose()
    where = f"127.0.0.1:{free_port()}"
    node(state, "add", "ARCHIVE", "--priors", where)
    [line] = triage("priors", "fetch", "1", "--state", state, "--json").json
    assert f"no association with ARCHIVE at {where}" in line["reason"]


@contextmanager
def refusing() -> Iterator[int]:
    """Run a SHY that knows another caller than us; gives its port."""
    ae = AE(ae_title="SHY")
    ae.add_supported_context(VERIFICATION, ImplicitVRLittleEndian)
    ae.require_calling_aet = ["OTHER"]
    server: Any = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


@contextmanager
def hearing_and_there(*, provider: bool) -> Iterator[int]:
    """Run an ASKER that may take us as the provider of Storage Commitment."""
    ae = AE(ae_title="ASKER")
    ae.add_supported_context(VERIFICATION, ImplicitVRLittleEndian)
    roles = {"scu_role": False, "scp_role": True} if provider else {}
    ae.add_supported_context(commitment.SOP_CLASS, ImplicitVRLittleEndian, **roles)
    server: Any = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


class TestTesting:
    def test_everything_that_a_node_does_is_tried_where_it_does_it(self, tmp_path: Path) -> None:
        with dcmqrscp(tmp_path / "archive") as scp:
            where = f"127.0.0.1:{scp.port}"
            node(tmp_path, "add", scp.ae_title, "--name", "c", "--counts", where)
            assert ticks(tmp_path, "c") == (
                OK, {"TCP": True, "C-ECHO": True, "C-FIND": True},
            )  # fmt: skip
            node(tmp_path, "add", scp.ae_title, "--name", "p", "--priors", where)
            code, found = ticks(tmp_path, scp.ae_title)
        assert code == OK
        assert list(found) == [
            "c counts: TCP", "c counts: C-ECHO", "c counts: C-FIND",
            "p has priors: TCP", "p has priors: C-ECHO", "p has priors: C-FIND",
            "p has priors: C-GET",
        ]  # fmt: skip

    def test_a_source_that_cannot_be_queried_or_retrieved_from_gets_crosses(
        self, tmp_path: Path
    ) -> None:
        with storescp(tmp_path / "kept") as scp:
            node(tmp_path, "add", scp.ae_title, "--priors", f"127.0.0.1:{scp.port}")
            code, found = ticks(tmp_path, scp.ae_title)
        assert (code, found) == (
            FAILED, {"TCP": True, "C-ECHO": True, "C-FIND": False, "C-GET": False},
        )  # fmt: skip

    @pytest.mark.parametrize("provider", [True, False])
    def test_a_requester_must_take_us_as_the_provider(
        self, tmp_path: Path, *, provider: bool
    ) -> None:
        with hearing_and_there(provider=provider) as port:
            node(tmp_path, "add", "ASKER", "--answers", f"127.0.0.1:{port}")
            code, found = ticks(tmp_path, "ASKER")
        assert found == {"TCP": True, "C-ECHO": True, "N-EVENT-REPORT": provider}
        assert code == (OK if provider else FAILED)

    def test_over_tls_its_certificate_is_pinned_and_the_doctor_looks_at_ours(
        self, start: Start, keys: Keys, tmp_path: Path
    ) -> None:
        shutil.copytree(keys.state, tmp_path / "state")
        state, other = tmp_path / "state", start(tls=keys.port())
        node(state, "add", "TRIAGE", "--counts", f"localhost:{other.tls_port}", "--pin", "now")
        written = yaml.safe_load((state / "nodes.yaml").read_text())
        assert written["count_sources"][0]["tls"] == {"pins": [keys.digest("server.pem")]}
        _, found = ticks(state, "triage")
        assert (found["TLS"], found["C-ECHO"]) == (True, True)
        greeted = {line.name: line.ok for line in doctor._nodes(configuration.load(state))}
        assert greeted == {"echo triage counts": True, "TLS of triage counts": True}
        names = [line["name"] for line in triage("tls", "check", "--state", state, "--json").json]
        assert "tls of triage" in names


class TestDoctor:
    def test_sources_that_answer_are_ticks_at_their_places(self, tmp_path: Path) -> None:
        with dcmqrscp(tmp_path / "archive") as scp:
            where = f"127.0.0.1:{scp.port}"
            for does in ("--to", "--counts", "--priors"):
                node(tmp_path, "add", scp.ae_title, "--name", "pacs", does, where)
            found = doctored(tmp_path)
        there = (True, f"{scp.ae_title}@{where}", "")
        assert found == {
            "echo pacs": there, "echo pacs counts": there, "echo pacs has priors": there,
        }  # fmt: skip

    @REFUSED
    def test_each_that_is_away_or_refuses_us_is_a_cross_with_why_and_the_next_command(
        self, tmp_path: Path
    ) -> None:
        with dcmqrscp(tmp_path / "archive") as scp, refusing() as port:
            away = f"127.0.0.1:{free_port()}"
            node(tmp_path, "add", "GONE", "--counts", away)
            node(tmp_path, "add", "SHY", "--counts", f"127.0.0.1:{port}")
            node(tmp_path, "add", "GONE", "--name", "old archive", "--priors", away)
            node(tmp_path, "add", scp.ae_title, "--priors", f"127.0.0.1:{scp.port}")
            node(tmp_path, "add", "OFF", "--answers", away)
            found = doctored(tmp_path)
        assert {name: ok for name, (ok, _, _) in found.items()} == {
            "echo gone counts": False, "echo shy counts": False,
            "echo old archive has priors": False,
            f"echo {scp.ae_title.lower()} has priors": True,
        }  # fmt: skip
        _, why, fix = found["echo gone counts"]
        assert f"no association with GONE at {away}" in why
        assert fix.endswith("; triage node test gone")
        _, why, fix = found["echo shy counts"]
        assert "Calling AE title not recognised" in why
        assert fix.endswith("; triage node test shy")
        command = found["echo old archive has priors"][2].rpartition("; triage ")[2]
        assert ticks(tmp_path, *shlex.split(command)[2:]) == (FAILED, {"TCP": False})


def doctored(state: Path) -> dict[str, tuple[bool, str, str]]:
    """Give what the whole doctor says of those that it calls by DIMSE."""
    lines = triage("doctor", "--json", "--state", state).json
    return {
        one["name"]: (one["ok"], one["found"], one["fix"])
        for one in lines
        if one["name"].startswith(("echo ", "TLS of "))
    }
