"""``triage node``: peers in and out without an editor, and what each of them can do."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pynetdicom import evt

from tests.builders import dx
from tests.certificates import Keys, made
from tests.servers import dcmqrscp, free_port, storescp
from tests.triage.commands.cli import node, triage, write_site
from tests.triage.receive import conftest as receiving
from tests.triage.receive import raw
from tests.triage.receive.conftest import Start, make_settings, soon
from triage import nodes
from triage import settings as configuration
from triage.commands import common, doctor, node_file
from triage.commands.common import FAILED, OK, SETUP, USAGE
from triage.commands.node_test import remedy
from triage.commands.send import Fate, parse, send_files
from triage.dimse import VERIFICATION, associate
from triage.errors import ConfigError, TriageError, TryAgain
from triage.ingest import take_journal
from triage.receive.listener import Listener
from triage.spool import Spool

start = receiving.start
"""The fixture, for here too."""
CONTEXTS = [(raw.VERIFICATION, [raw.IMPLICIT])]
BY_HAND = """\
# ours
peers:
  # the old scanner
  - ae_title: CT1
    addresses: [10.0.0.5]   # room 3

  # any MR
  - {ae_title: MR1}
# where results go
destinations:
- name: pacs   # the big one
  ae_title: PACS
  host: 10.0.0.9
  port: 104
"""


class TestChanging:
    def test_what_is_added_is_listed_and_goes_again(self, tmp_path: Path) -> None:
        node(tmp_path, "add", "CT1", "--from", "10.0.0.5", "--from", "10.1.0.0/16")
        node(tmp_path, "add", "PACS", "--from", "any", "--to", "10.0.0.9:104", "--tls")
        loaded = configuration.load(tmp_path)
        assert [one.ae_title for one in loaded.peers] == ["PACS", "CT1"]  # type: ignore[union-attr]
        assert [one.name for one in loaded.site.destinations] == ["pacs"]
        shown = [(row["does"], row["ae_title"], row["where"]) for row in node(tmp_path, "ls")]
        assert shown == [
            ("sends", "PACS", "anywhere"),
            ("sends", "CT1", "10.0.0.5, 10.1.0.0/16"),
            ("receives", "PACS", "10.0.0.9:104"),
        ]
        assert node(tmp_path, "rm", "PACS") == {"removed": 2}
        assert [row["ae_title"] for row in node(tmp_path, "ls")] == ["CT1"]
        assert node(tmp_path, "rm", "CT1") == {"removed": 1}
        assert node(tmp_path, "ls") == []

    def test_what_a_person_wrote_around_it_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "nodes.yaml"
        path.write_text(BY_HAND)
        node(tmp_path, "add", "CT2", "--from", "10.0.0.6")
        node(tmp_path, "add", "ARCHIVE", "--to", "10.0.0.8:104")
        text = path.read_text()
        assert "\n# added " in text.replace("  # added", "# added")
        for name in ("CT2", "ARCHIVE"):
            node(tmp_path, "rm", name)
        assert path.read_text() == BY_HAND
        node(tmp_path, "rm", "CT1")
        left = path.read_text()
        assert "scanner" not in left
        assert "room 3" not in left
        for kept in ("# ours", "# any MR", "# where results go", "# the big one"):
            assert kept in left

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("add", "CT1"), "say --from ADDRESS"),
            (("add", "CT1", "--from", "ct1.local"), "write an IP address"),
            (("add", "A\\B", "--from", "any"), "1 to 16 ASCII"),
            (("add", "CT1", "--from", "any", "--certificate", "ab"), "64 hexadecimal"),
            (("add", "OLD", "--to", "10.0.0.1:104"), "there is a destination old"),
            (("rm", "OLD"), "nodes.yaml has no OLD"),
            (("rm", "old"), "take it out there"),
        ],
    )
    def test_what_makes_no_sense_changes_nothing(
        self, tmp_path: Path, words: tuple[str, ...], said: str
    ) -> None:
        to = {"name": "old", "ae_title": "OLD", "host": "h", "port": 104}
        write_site(tmp_path, destinations=[to])
        answer = triage("node", *words, "--state", tmp_path)
        assert answer.code == SETUP
        assert said in answer.err
        assert not (tmp_path / "nodes.yaml").exists()

    def test_the_same_once_more_is_said(self, tmp_path: Path) -> None:
        node(tmp_path, "add", "CT1", "--from", "10.0.0.5")
        again = triage("node", "add", "CT1", "--from", "10.0.0.5", "--state", tmp_path)
        assert (again.code, "already let in" in again.err) == (SETUP, True)
        assert triage("node", "add", "X", "--to", "nowhere", "--state", tmp_path).code == USAGE

    def test_a_list_in_one_line_is_left_to_a_person(self, tmp_path: Path) -> None:
        (tmp_path / "nodes.yaml").write_text("peers: [{ae_title: CT1}]\n")
        answer = triage("node", "rm", "CT1", "--state", tmp_path)
        assert (answer.code, "by hand" in answer.err) == (SETUP, True)
        assert node(tmp_path, "ls")[0]["ae_title"] == "CT1"

    @pytest.mark.parametrize(
        "text", ["peers: [", "- a", "peers: [{ae: X}]", "pears: []", "\x00", "peers: []\npeers: []"]
    )
    def test_a_file_that_is_wrong_names_itself(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "nodes.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"nodes\.yaml"):
            configuration.load(tmp_path)

    def test_an_edit_that_would_say_something_else_is_not_written(self, tmp_path: Path) -> None:
        with pytest.raises(TriageError, match="edit it by hand"):
            node_file.change(tmp_path, lambda text: text + "peers: []\n", _peers("CT1"))
        assert not (tmp_path / "nodes.yaml").exists()

    def test_changes_are_audited_once_there_is_a_trail(self, tmp_path: Path) -> None:
        triage("db", "upgrade", "--state", tmp_path)
        node(tmp_path, "add", "CT1", "--from", "10.0.0.5")
        node(tmp_path, "rm", "CT1")
        answer = triage("audit", "query", "--state", tmp_path, "--json", "--event", "110113")
        assert '"node.added"' in answer.out
        assert '"node.removed"' in answer.out


class TestLettingIn:
    def test_a_fresh_installation_lets_nobody_in_and_the_doctor_says_how(
        self, tmp_path: Path
    ) -> None:
        settings = configuration.load(tmp_path)
        assert settings.peers == ()
        check = doctor._peers(settings)
        assert (check.ok, check.found) == (False, "nobody may send")
        assert "triage node add" in check.fix

    def test_by_default_nobody_is_let_in_until_the_node_is_added(self, start: Start) -> None:
        listener = start(peers=())
        state = listener.spool.root.parent
        assert raw.rejection(listener.port, CONTEXTS, calling=b"CT1") == (1, 1, 3)
        node(state, "add", "CT1", "--from", "127.0.0.1")
        assert raw.rejection(listener.port, CONTEXTS, calling=b"CT1") is None
        assert raw.rejection(listener.port, CONTEXTS, calling=b"CT2") == (1, 1, 3)
        assert raw.rejection(listener.port, CONTEXTS, "127.0.0.2", calling=b"CT1") == (1, 1, 3)
        (state / "nodes.yaml").write_text("nonsense")
        assert raw.rejection(listener.port, CONTEXTS, calling=b"CT1") is None
        (state / "nodes.yaml").unlink()
        assert raw.rejection(listener.port, CONTEXTS, calling=b"CT1") == (1, 1, 3)

    def test_a_sender_that_is_not_let_in_is_told_why_and_what_to_do(
        self, start: Start, tmp_path: Path
    ) -> None:
        listener = start(peers=())
        dx().save_as(tmp_path / "one.dcm", enforce_file_format=True)
        [sent] = send_files(
            [tmp_path / "one.dcm"], parse(f"TRIAGE@127.0.0.1:{listener.port}", "CT1")
        )
        assert sent.fate is Fate.LATER
        assert "Calling AE title not recognised (result 1, source 1, reason 3)" in sent.detail
        assert "triage node add CT1 --from ADDRESS" in sent.detail

    def test_a_rejection_that_comes_before_the_caller_looks_is_told_as_well(
        self, start: Start
    ) -> None:
        to = parse(f"TRIAGE@127.0.0.1:{start(peers=()).port}", "CT1")
        late = (evt.EVT_REQUESTED, lambda _: time.sleep(0.5))
        with (
            pytest.raises(TryAgain, match=r"not recognised \(result 1, source 1, reason 3\)"),
            associate(to, [(VERIFICATION, raw.IMPLICIT)], handlers=[late]),
        ):
            pass

    def test_a_refusal_becomes_an_audit_row_and_a_command_until_it_is_mended(
        self, tmp_path: Path
    ) -> None:
        settings = make_settings(tmp_path, peers=())
        triage("db", "upgrade", "--state", tmp_path)
        listener = Listener(settings)
        listener.start()
        try:
            raw.rejection(listener.port, CONTEXTS, calling=b"CT1")
            raw.rejection(listener.port, CONTEXTS, calling=b"X; rm -rf /")
        finally:
            listener.stop(within_s=30)
        with common.opened(settings) as database:
            take_journal(database, Spool(settings.spool))
        answer = triage("audit", "query", "--state", tmp_path, "--json", "--event", "110113")
        (row,) = [one for one in answer.json if one["ae_title"] == "CT1"]
        assert "CALLING_AE_TITLE" in json.dumps(row)
        assert "127.0.0.1" in json.dumps(row)

        def said() -> str:
            return "\n".join(line.found for line in doctor._refused(settings))

        assert "triage node add CT1 --from 127.0.0.1" in said()
        assert "triage node add 'X; rm -rf /' --from 127.0.0.1" in said()
        node(tmp_path, "add", "CT1", "--from", "127.0.0.1")
        assert "CT1" not in said()

    def test_the_log_says_the_command(self, start: Start) -> None:
        from structlog.testing import capture_logs

        listener = start(peers=())
        raw.rejection(listener.port, CONTEXTS, calling=b"CT1")
        with capture_logs() as lines:
            listener.report()
        (line,) = [one for one in lines if one["event"] == "association.rejected"]
        assert line["fix"] == "triage node add CT1 --from 127.0.0.1"


@pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning")  # pynetdicom's, on refusal
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestTesting:
    def ticks(self, state: Path, *words: object) -> tuple[int, dict[str, dict[str, Any]]]:
        answer = triage("node", "test", *words, "--state", state, "--json")
        return answer.code, {line["name"]: line for line in answer.json}

    def test_an_archive_gets_every_tick(self, tmp_path: Path) -> None:
        with dcmqrscp(tmp_path / "archive") as scp:
            node(tmp_path, "add", scp.ae_title, "--to", f"127.0.0.1:{scp.port}")
            code, found = self.ticks(tmp_path, scp.ae_title.lower())
        assert {name: line["ok"] for name, line in found.items()} == dict.fromkeys(
            ("TCP", "C-ECHO", "C-FIND", "C-STORE"), True
        )
        assert code == OK

    def test_who_cannot_be_queried_gets_a_cross_with_the_fix(self, tmp_path: Path) -> None:
        with storescp(tmp_path / "kept") as scp:
            code, found = self.ticks(tmp_path, f"{scp.ae_title}@127.0.0.1:{scp.port}")
        assert {name for name, line in found.items() if not line["ok"]} == {"C-FIND"}
        assert "query" in found["C-FIND"]["fix"]
        assert code == FAILED

    def test_nobody_there_is_one_cross(self, tmp_path: Path) -> None:
        _, found = self.ticks(tmp_path, f"A@127.0.0.1:{free_port()}")
        assert {name: line["ok"] for name, line in found.items()} == {"TCP": False}

    def test_over_tls_the_certificate_is_shown_and_pinned(
        self, start: Start, keys: Keys, tmp_path: Path
    ) -> None:
        listener = start(tls=keys.port())
        where = f"localhost:{listener.tls_port}"
        code, found = self.ticks(keys.state, f"TRIAGE@{where}", "--tls")
        assert keys.digest("server.pem") in found["TLS"]["found"]
        assert "days left" in found["TLS"]["found"]
        assert found["C-ECHO"]["ok"]
        assert not found["C-FIND"]["ok"]  # a listener answers no queries
        assert code == FAILED
        node(keys.state, "add", "TRIAGE", "--name", "us", "--to", where, "--pin", "now")
        written = yaml.safe_load((keys.state / "nodes.yaml").read_text())
        assert written["destinations"][0]["tls"] == {"pins": [keys.digest("server.pem")]}
        assert self.ticks(keys.state, "us")[1]["C-ECHO"]["ok"]
        stranger = made(tmp_path / "stranger")
        other = start(tls=stranger.port(ca_file=str(keys.file("ca.pem"))))
        text = (keys.state / "nodes.yaml").read_text()
        changed = text.replace(str(listener.tls_port), str(other.tls_port))
        (keys.state / "nodes.yaml").write_text(changed)
        _, found = self.ticks(keys.state, "us")
        assert not found["TLS"]["ok"]
        assert "nothing was sent" in found["TLS"]["fix"]
        assert soon(lambda: other.associations == 0)
        node(keys.state, "rm", "us")

    def test_a_port_without_tls_has_no_certificate_to_pin(self, tmp_path: Path) -> None:
        with storescp(tmp_path / "kept") as scp:
            answer = triage(
                "node", "add", "S", "--to", f"127.0.0.1:{scp.port}", "--pin", "now",
                "--state", tmp_path,
            )  # fmt: skip
        assert (answer.code, "nothing to pin" in answer.err) == (SETUP, True)

    def test_one_that_only_sends_cannot_be_called(self, tmp_path: Path) -> None:
        node(tmp_path, "add", "CT1", "--from", "any")
        for name, said in (("CT1", "only sends"), ("CT2", "no DICOM destination CT2")):
            answer = triage("node", "test", name, "--state", tmp_path)
            assert (answer.code, said in answer.err) == (SETUP, True)

    def test_every_failure_has_something_to_do(self) -> None:
        assert "triage tls trust" in remedy(
            "certificate refused: unable to get local issuer certificate"
        )
        assert "ca.pem" in remedy("tlsv1 alert unknown ca")
        assert remedy("something new") == "triage tls check"


def _peers(*titles: str) -> nodes.Nodes:
    return nodes.Nodes(peers=tuple(nodes.Peer(ae_title=one) for one in titles))
