"""The child as the parent starts it."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.triage.files import image, write
from triage.preprocess.channel import Channel, Closed

ROOT = Path(__file__).parents[3]


def test_it_knows_neither_torch_nor_monai_nor_the_database() -> None:
    code = (
        "import sys, triage.preprocess.child;"
        "print({'torch', 'monai', 'sqlalchemy', 'celery'} & set(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ended.stdout == "set()\n"


def test_it_ends_when_the_parent_hangs_up() -> None:
    process, channel = started()
    channel.close()
    assert process.wait(timeout=60) == 0


def test_it_answers_with_a_code_and_never_with_a_value(tmp_path: Path) -> None:
    process, channel = started()
    built = image("CT", np.zeros((2, 2), np.int16), RescaleSlope=None, PatientName="Secret^Name")
    path = write(built, tmp_path / "x.dcm")
    channel.send({"files": [str(path)], "voi": False})
    assert channel.receive()[0] == {"shape": [1, 2, 2]}
    with (tmp_path / "shared").open("w+b") as shared:
        shared.truncate(16)
        channel.send({"go": True}, file=shared.fileno())
        answer = channel.receive()[0]
    assert answer["error"] == "NotEligible"
    assert answer["code"] == "header"
    assert "Secret" not in str(answer)
    channel.close()
    assert process.wait(timeout=60) == 0


def test_it_hangs_up_when_it_is_given_no_memory(tmp_path: Path) -> None:
    process, channel = started()
    path = write(image("CT", np.zeros((2, 2), np.int16)), tmp_path / "x.dcm")
    channel.send({"files": [str(path)], "voi": False})
    channel.receive()
    channel.send({"go": True})
    with pytest.raises(Closed):
        channel.receive()
    channel.close()
    assert process.wait(timeout=60) == 0


def started() -> tuple[subprocess.Popen[bytes], Channel]:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "triage.preprocess.child", str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(
            [*command, "1000000", str(2**29), "5"], pass_fds=[theirs.fileno()], cwd=ROOT
        )
    channel = Channel(ours)
    assert channel.receive()[0] == {"ready": True}
    return process, channel
