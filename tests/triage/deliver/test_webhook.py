"""Webhooks: signed so that another library verifies them, and the same id for the same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from tests.triage.outputs import studies
from tests.triage.receivers.http import Answer, Request, serving
from triage.deliver import Sender, webhook
from triage.destinations import Webhook
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document
from triage.outputs import plain_text
from triage.outputs import webhook as output

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def document() -> Document:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    return output.build(assessment, studies.context())


@contextmanager
def receiver(
    folder: Path, arrived: list[Request], status: int = 204, secret: str = SECRET
) -> Iterator[Webhook]:
    def answer(request: Request) -> Answer:
        arrived.append(request)
        return Answer(status)

    path = folder / "webhook.key"
    path.touch(mode=0o600)
    path.write_text(secret)
    with serving(answer) as url:
        yield Webhook(name="pager", url=f"{url}/hook", secret_file=path, deadline_s=5.0)


def test_another_library_verifies_it_and_an_altered_body_fails(
    document: Document, tmp_path: Path
) -> None:
    arrived: list[Request] = []
    sender = Sender()
    with receiver(tmp_path, arrived) as to:
        try:
            assert {sender.send(document, to) for _ in range(2)} == {204}
        finally:
            sender.stop()
    first, second = arrived
    assert first.content == second.content == document.content
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    body = Verifier(SECRET).verify(first.content, first.headers)
    assert body["type"] == "report.preliminary"
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(
            first.content.replace(b"Prioritised", b"Prioritized"), first.headers
        )


def test_the_text_goes_as_text(tmp_path: Path) -> None:
    arrived: list[Request] = []
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    text = plain_text.build(assessment, studies.context())
    with receiver(tmp_path, arrived) as to:
        webhook.store(text, to)
    assert arrived[0].headers["content-type"] == "text/plain; charset=utf-8"


def test_a_short_or_damaged_secret_signs_nothing(document: Document, tmp_path: Path) -> None:
    for secret in ("short", "whsec_c2hvcnQ=", "whsec_***"):
        arrived: list[Request] = []
        with receiver(tmp_path, arrived, secret=secret) as to, pytest.raises(TryAgain):
            webhook.store(document, to)
        assert arrived == []


@pytest.mark.parametrize(
    ("status", "fate"), [(503, TryAgain), (410, Broken), (301, Broken), (0, InDoubt)]
)
def test_statuses_have_fates(
    status: int, fate: type[Exception], document: Document, tmp_path: Path
) -> None:
    with receiver(tmp_path, [], status) as to, pytest.raises(fate):
        webhook.store(document, to)
