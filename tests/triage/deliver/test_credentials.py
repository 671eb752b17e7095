"""Senders show a certificate where the other side asks for one, and tell what is wrong with it."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Keys, made
from tests.triage.outputs import studies
from tests.triage.receivers.http import Answer, Request, serving
from tests.triage.receivers.mllp import Engine, engine
from triage.deliver import mllp, webhook
from triage.deliver.credentials import trust
from triage.destinations import ClientTls, Webhook
from triage.errors import TryAgain
from triage.finding import Document
from triage.outputs import hl7_oru


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return made(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def message() -> Document:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    return hl7_oru.build(assessment, studies.context())


@pytest.fixture
def hook(keys: Keys, tmp_path: Path) -> Iterator[tuple[Webhook, list[Request]]]:
    """Give a webhook that takes nothing without a certificate of our authority."""
    came: list[Request] = []

    def answer(request: Request) -> Answer:
        came.append(request)
        return Answer(204)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys.file("server.pem"), keys.file("server.key"))
    context.load_verify_locations(keys.file("ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    secret = tmp_path / "hook.key"
    secret.write_text("s" * 32)
    secret.chmod(0o600)
    with serving(answer, context) as url:
        yield (
            Webhook(
                name="pager", url=url, secret_file=secret, ca_file=keys.file("ca.pem"),
                deadline_s=20.0,
            ),
            came,
        )  # fmt: skip


def own(keys: Keys) -> dict[str, Path]:
    return {"certificate_file": keys.file("client.pem"), "key_file": keys.file("client.key")}


def test_https_shows_our_certificate(
    hook: tuple[Webhook, list[Request]], keys: Keys, message: Document
) -> None:
    to, came = hook
    assert webhook.store(message, to.model_copy(update=own(keys))) == 204
    assert [one.content for one in came] == [message.content]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_https_without_it_sends_nothing(
    hook: tuple[Webhook, list[Request]], message: Document
) -> None:
    to, came = hook
    with pytest.raises(TryAgain):
        webhook.store(message, to)
    assert came == []


def test_mllp_shows_our_certificate(keys: Keys, message: Document) -> None:
    script = Engine()
    theirs = (keys.file("server.pem"), keys.file("server.key"), keys.file("ca.pem"))
    with engine(script, theirs, ca_file=keys.file("ca.pem")) as to:
        with pytest.raises(TryAgain):
            mllp.store(message, to)
        assert script.arrived == []
        assert mllp.store(message, to.model_copy(update=own(keys))) == 0
    assert len(script.arrived) == 1


class TestFilesThatAreNoneAreForAPerson:
    def test_a_key_that_others_may_read(self, keys: Keys, tmp_path: Path) -> None:
        key = tmp_path / "client.key"
        key.write_bytes(keys.file("client.key").read_bytes())
        key.chmod(0o644)
        with pytest.raises(TryAgain, match="readable by others"):
            trust(ClientTls(certificate_file=keys.file("client.pem"), key_file=key))

    def test_a_key_of_another_certificate(self, keys: Keys) -> None:
        wrong = {"certificate_file": keys.file("client.pem"), "key_file": keys.file("server.key")}
        with pytest.raises(TryAgain, match="no certificate and its key"):
            trust(ClientTls.model_validate(wrong))

    def test_a_file_that_is_not_there(self, keys: Keys, tmp_path: Path) -> None:
        for given in (
            {"ca_file": tmp_path / "none.pem"},
            {"certificate_file": tmp_path / "none.pem", "key_file": keys.file("client.key")},
        ):
            with pytest.raises(TryAgain, match=r"none\.pem"):
                trust(ClientTls.model_validate(given))
