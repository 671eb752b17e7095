"""What goes through the broker is JSON, and nothing else is opened."""

import os
import pickle  # noqa: TID251 - to plant one
from pathlib import Path

import pytest
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads

from workers.app import make_app


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_the_queue_is_refused_unread(tmp_path: Path) -> None:
    app = make_app("redis://127.0.0.1:1/0", 60.0)
    planted = pickle.dumps(Trap(tmp_path / "ran"))
    with pytest.raises(ContentDisallowed):
        loads(planted, "application/x-python-serialize", "binary", accept=app.conf.accept_content)
    assert not (tmp_path / "ran").exists()
    app.close()


def test_json_is_all_that_is_written_and_taken() -> None:
    app = make_app("redis://127.0.0.1:1/0", 60.0)
    assert (app.conf.task_serializer, app.conf.accept_content) == ("json", ["json"])
    assert app.conf.result_backend is None
    app.close()
