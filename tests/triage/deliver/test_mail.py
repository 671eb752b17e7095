"""Mail: to all recipients or to none, encrypted, and the same Message-ID when it goes again."""

import email
import ssl
from collections.abc import Iterator
from email import policy
from pathlib import Path

import pytest

from tests.servers import free_port
from tests.triage.outputs import studies
from tests.triage.receivers.smtp import READERS, SENDER, Office, certificate, office
from triage.deliver import Sender, mail
from triage.destinations import Mail
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document
from triage.outputs import mail as output


@pytest.fixture(scope="module")
def document() -> Document:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    return output.build(assessment, studies.context())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def sender() -> Iterator[Sender]:
    one = Sender()
    yield one
    one.stop()


def test_it_arrives_at_every_reader(document: Document, sender: Sender) -> None:
    script = Office()
    with office(script) as to:
        assert sender.send(document, to) == 0
        assert sender.send(document, to) == 0
    (envelope, again) = script.arrived
    assert envelope == again
    assert envelope[:2] == (SENDER, READERS)
    message = email.message_from_bytes(envelope[2], policy=policy.SMTP)
    assert (message["From"], message["To"]) == (SENDER, ", ".join(READERS))
    assert message["Subject"] == "Triage: Prioritised"
    assert "Proposed worklist priority: high" in message.get_content()


def test_a_reader_that_is_refused_keeps_it_from_all(document: Document) -> None:
    for reply, fate in (("450 later", TryAgain), ("550 unknown", Broken)):
        script = Office(to_recipient=reply)
        with office(script) as to, pytest.raises(fate, match=reply[:3]):
            mail.store(document, to)
        assert script.arrived == []


@pytest.mark.parametrize(
    ("reply", "fate"), [("451 later", TryAgain), ("554 no", Broken), ("cut", InDoubt)]
)
def test_replies_have_fates(reply: str, fate: type[Exception], document: Document) -> None:
    with office(Office(to_message=reply)) as to, pytest.raises(fate) as caught:
        mail.store(document, to)
    assert type(caught.value) is fate


def test_nobody_there_means_later(document: Document) -> None:
    to = Mail(
        name="mail", host="127.0.0.1", port=free_port(), sender=SENDER, recipients=READERS,
        deadline_s=2.0,
    )  # fmt: skip
    with pytest.raises(TryAgain, match="no SMTP"):
        mail.store(document, to)


def test_it_goes_encrypted_and_signed_in(
    document: Document, tls: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text("correct horse")
    script = Office(password="correct horse")
    given = {"ca_file": tls[0], "user": "triage", "password_file": path, "deadline_s": 2.0}
    with office(script, tls, **given) as to:
        assert mail.store(document, to) == 0
        assert script.encrypted
        path.write_text("wrong")
        with pytest.raises(TryAgain):
            mail.store(document, to)
    assert len(script.arrived) == 1


def test_an_unknown_certificate_gets_no_mail(document: Document, tls: tuple[Path, Path]) -> None:
    script = Office()
    with office(script, tls) as to, pytest.raises(TryAgain, match=ssl.SSLError.__name__[:3]):
        mail.store(document, to)
    assert script.arrived == []


def test_a_password_never_goes_unencrypted(document: Document, tmp_path: Path) -> None:
    given = {"user": "triage", "password_file": tmp_path}
    with office(Office(), None, **given) as to, pytest.raises(Broken, match="starttls"):
        mail.store(document, to)
    with office(Office(), starttls=True) as to, pytest.raises(Broken, match="no STARTTLS"):
        mail.store(document, to)
