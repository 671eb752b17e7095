"""The command line: help everywhere, the configuration, exit codes that programs can rely on."""

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from db import schema
from tests.servers import free_port, storescp
from tests.triage.commands.cli import triage, write_site
from triage.__main__ import app
from triage.commands import common
from triage.commands.common import FAILED, OK, SETUP, USAGE


def commands() -> list[tuple[str, ...]]:
    """Every command's words."""
    return below(typer.main.get_command(app))


def below(group: object) -> list[tuple[str, ...]]:
    """Give the words of every command below a group, whatever groups lie between."""
    inner: dict[str, object] = getattr(group, "commands", {})
    return [
        (name, *rest)
        for name, one in inner.items()
        for rest in (below(one) if hasattr(one, "commands") else [()])
    ]


def test_the_help_names_every_command_and_the_exit_codes() -> None:
    answer = triage("--help")
    assert answer.code == OK
    for words in commands():
        assert words[0] in answer.out
    assert "Exit codes" in answer.out


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    answer = triage(*words, "--help")
    assert answer.code == OK
    assert f"Usage: triage {' '.join(words)}" in answer.out
    assert "--state" in answer.out


@pytest.mark.parametrize("words", [["nonsense"], ["queue", "retry"], ["send"], ["study", "show"]])
def test_wrong_arguments_are_answered_with_two(words: list[str], tmp_path: Path) -> None:
    answer = triage(*words)
    assert answer.code == USAGE
    assert "Traceback" not in answer.err


def test_the_module_itself_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "triage", "config", "validate", "--config", "/nowhere/at-all"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == SETUP
    assert ended.stderr.startswith("triage: no configuration folder at /nowhere/at-all")
    assert "config init" in ended.stderr


def test_the_packaged_configuration_holds(tmp_path: Path) -> None:
    assert triage("config", "validate", "--state", tmp_path / "none").code == OK
    assert not (tmp_path / "none").exists()  # looking leaves nothing behind


def test_the_settings_in_force_are_shown_as_yaml_and_as_json(tmp_path: Path) -> None:
    write_site(tmp_path, listener={"port": 4711})
    as_json = triage("config", "show", "--json", "--state", tmp_path).json
    assert as_json["site"]["listener"]["port"] == 4711
    assert as_json["state"] == str(tmp_path)
    assert yaml.safe_load(triage("config", "show", "--state", tmp_path).out) == as_json


def test_the_environment_wins_over_the_file_and_the_option_over_both(tmp_path: Path) -> None:
    write_site(tmp_path / "a", listener={"port": 1, "ae_title": "FILE"})
    answer = triage(
        "config", "show", "--json", "--state", tmp_path / "a",
        TRIAGE__LISTENER__PORT="2", TRIAGE_STATE=str(tmp_path / "b"),
    )  # fmt: skip
    listener = answer.json["site"]["listener"]
    assert (listener["port"], listener["ae_title"]) == (2, "FILE")
    assert answer.json["state"] == str(tmp_path / "a")


@pytest.mark.parametrize(
    ("file", "content", "key"),
    [
        ("site.yaml", "listner: {port: 1}", "listner"),
        ("site.yaml", "listener: {prot: 1}", "listener.prot"),
        ("site.yaml", "listener: {port: 70000}", "listener.port"),
        ("site.yaml", "listener: {ae_title: ABCDEFGHIJKLMNOPQ}", "listener.ae_title"),
        ("site.yaml", "listener: [", "not valid YAML"),
        ("site.yaml", "listener: {port: 1, port: 2}", "the key port stands twice"),
        (
            "site.yaml",
            "work: {}\nweb: {}\nwork: {poll_s: 1}",
            "work stands twice, in lines 1 and 3",
        ),
        ("site.yaml", "- listener", "not a mapping"),
        ("site.yaml", "just words", "not a mapping"),
        ("site.yaml", "4: 5", "4"),
        ("site.yaml", b"\xff\xfe\xfa: 1", "not valid YAML"),
        ("policy.yaml", "levels: [{name: a, p_at_most: 2, priority: 1}]", "levels.0.p_at_most"),
        ("routes.yaml", "{}", "routes"),
        ("recipes/mine.yaml", "kind: volume", "size_px"),
    ],
)
def test_a_wrong_file_is_answered_with_its_name_and_the_key(
    tmp_path: Path, file: str, content: str | bytes, key: str
) -> None:
    path = tmp_path / "configs" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    answer = triage("config", "validate", "--state", tmp_path)
    assert answer.code == SETUP
    assert answer.err.startswith(f"triage: {path}")
    assert key in answer.err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIAGE__LISTENER__PORT", "many"),
        ("TRIAGE__LISTENER__PROT", "11112"),
        ("TRIAGE__LISTENR__PORT", "11112"),
        ("TRIAGE__DESTINATIONS", "not json"),
    ],
)
def test_a_wrong_variable_is_answered_with_its_name_and_never_passed_over(
    tmp_path: Path, name: str, value: str
) -> None:
    answer = triage("config", "validate", "--state", tmp_path, **{name: value})
    assert answer.code == SETUP
    assert "Traceback" not in answer.err
    assert any(part in answer.err.lower() for part in name.lower().split("__")[1:])


def test_an_unknown_rule_in_a_route_is_found_by_validate(tmp_path: Path) -> None:
    path = tmp_path / "configs" / "routes.yaml"
    path.parent.mkdir()
    path.write_text("routes: [{name: a, when: {}, require: [is_nothing], recipe: head-ct}]")
    answer = triage("config", "validate", "--state", tmp_path)
    assert answer.code == SETUP
    assert "is_nothing" in answer.err


def test_init_copies_the_configuration_to_edit_and_overwrites_nothing(tmp_path: Path) -> None:
    assert triage("config", "init", "--state", tmp_path).code == OK
    site = tmp_path / "configs" / "site.yaml"
    site.write_text("listener: {port: 4712}")
    assert triage("config", "validate", "--state", tmp_path).code == OK
    again = triage("config", "init", "--state", tmp_path)
    assert again.code == SETUP
    assert site.read_text() == "listener: {port: 4712}"
    assert not list((tmp_path / "configs").rglob("*.py*"))


def test_a_command_on_an_empty_database_names_the_command_that_makes_it(
    tmp_path: Path, empty_url: str
) -> None:
    site = {"TRIAGE__DATABASE__URL": empty_url}
    before = triage("queue", "ls", "--state", tmp_path, **site)
    assert before.code == SETUP
    assert "triage db upgrade" in before.err
    for _ in range(2):
        answer = triage("db", "upgrade", "--state", tmp_path, **site)
        assert answer.code == OK
        assert schema.head() in answer.out
    assert triage("queue", "ls", "--state", tmp_path, **site).code == OK


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://someone:hidden@127.0.0.1:1/none",
        "nonsense",
        "oracle://x",
        "sqlite:////proc/nowhere/rows.sqlite",
    ],
)
@pytest.mark.parametrize("words", [["queue", "ls"], ["db", "upgrade"], ["ingest"]], ids=" ".join)
def test_a_database_that_cannot_be_opened_is_no_traceback(
    tmp_path: Path, url: str, words: list[str]
) -> None:
    answer = triage(*words, "--state", tmp_path, TRIAGE__DATABASE__URL=url)
    assert answer.code == SETUP
    assert "database.url" in answer.err
    assert "hidden" not in answer.err


def doctor(state: Path, **environment: str) -> tuple[int, dict[str, dict[str, object]]]:
    answer = triage("doctor", "--json", "--state", state, **environment)
    return answer.code, {line["name"]: line for line in answer.json}


def test_the_doctor_gives_a_fix_with_every_cross(tmp_path: Path) -> None:
    code, lines = doctor(tmp_path)
    assert code == FAILED
    crosses = {name for name, line in lines.items() if not line["ok"]}
    assert {"destinations", "database"} <= crosses
    assert all(lines[name]["fix"] for name in crosses)
    assert lines["detector chest-radiograph-memae"]["ok"]
    assert all(line["ok"] for name, line in lines.items() if name.startswith("decode "))


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pynetdicom's, on refusal
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_whole_site_passes_the_doctor(tmp_path: Path) -> None:
    with storescp(tmp_path / "pacs") as pacs:
        write_site(
            tmp_path,
            destinations=[
                {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
            ],
            listener={"min_free_bytes": 1_000_000, "peers": [{"ae_title": "CT1"}]},
        )
        triage("db", "upgrade", "--state", tmp_path)
        code, lines = doctor(tmp_path)
    assert code == OK, [line for line in lines.values() if not line["ok"]]
    shown = triage("doctor", "--state", tmp_path)
    assert "✗" in shown.out  # the PACS has gone
    assert "check address" in shown.out


@pytest.mark.parametrize(
    ("name", "value", "cross"),
    [
        ("TRIAGE__BROKER__URL", "redis://127.0.0.1:1/0", "broker"),
        ("TRIAGE__BROKER__URL", "nonsense", "broker"),
        ("TRIAGE__DATABASE__URL", "postgresql+psycopg://a:hidden@127.0.0.1:1/b", "database"),
        ("TRIAGE__DATABASE__URL", "nonsense", "database"),
        ("TRIAGE__LISTENER__HOST", "0.0.0.0", "peers"),
        ("TRIAGE__LISTENER__HOST", "::1", "listener port"),
    ],
)
def test_the_doctor_says_what_to_do_about_what_is_away(
    tmp_path: Path, name: str, value: str, cross: str
) -> None:
    code, lines = doctor(tmp_path, **{name: value})
    assert code == FAILED
    assert "hidden" not in str(lines)
    if cross == "listener port":
        assert cross in lines
        return
    assert not lines[cross]["ok"]
    assert lines[cross]["fix"]


def test_the_doctor_reaches_interfaces_and_reads_their_secrets(tmp_path: Path) -> None:
    secret = tmp_path / "hook.key"
    secret.write_text("a secret that everybody may read")
    secret.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        write_site(
            tmp_path,
            destinations=[
                {"name": "ris", "kind": "mllp", "host": "127.0.0.1", "port": port},
                {"name": "gone", "kind": "fhir", "url": f"http://127.0.0.1:{free_port()}"},
                {"name": "pager", "kind": "webhook", "url": f"http://127.0.0.1:{port}",
                 "secret_file": str(secret)},
            ],
        )  # fmt: skip
        _, lines = doctor(tmp_path)
        secret.chmod(0o600)
        _, mended = doctor(tmp_path)
    assert lines["reach ris"]["ok"]
    assert not lines["reach gone"]["ok"]
    assert lines["secret_file of pager"]["fix"] == f"run: chmod 600 {secret}"
    assert mended["secret_file of pager"]["ok"]


def test_a_damaged_artifact_is_a_cross_and_not_a_traceback(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "chest-radiograph-memae"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{}")
    code, lines = doctor(tmp_path)
    assert code == FAILED
    broken = [line for name, line in lines.items() if name.startswith("detector")]
    assert [line["ok"] for line in broken] == [False]
    assert broken[0]["fix"]


def test_workers_refuse_queues_that_nobody_serves(tmp_path: Path) -> None:
    triage("db", "upgrade", "--state", tmp_path)
    command = [sys.executable, "-m", "triage", "worker", "--queues", "cpu,gup", "--state"]
    ended = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == USAGE
    assert "gup" in ended.stderr


@pytest.mark.parametrize("words", [["worker"], ["dispatch"]], ids=" ".join)
def test_a_worker_without_a_database_says_so_in_one_line(tmp_path: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "triage", *words, "--state", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == SETUP
    assert "triage db upgrade" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_no_traceback(tmp_path: Path) -> None:
    triage("db", "upgrade", "--state", tmp_path)
    port = free_port()
    write_site(tmp_path, listener={"port": port}, web={"port": port})
    with socket.create_server(("127.0.0.1", port)):
        command = [sys.executable, "-m", "triage", "listen", "--state", str(tmp_path)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode != OK
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr


class TestWhoRunsACommand:
    def test_is_the_process_whatever_the_environment_says(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            monkeypatch.setenv(name, "somebody.else")
        assert common.person() == pwd.getpwuid(os.getuid()).pw_name

    def test_without_a_name_is_its_number(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may become somebody else")
        code = "import os; from triage.commands.common import person; os.setuid(61234); "
        done = subprocess.run(
            [sys.executable, "-c", f"{code} print(person())"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.stdout == "uid 61234\n", done.stderr
