"""The child may die, hang or be lied to; the parent gives a coded error and goes on."""

import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from tests.triage.files import bundled, image, stack, write
from triage.errors import Broken, Held, TryAgain
from triage.preprocess.decoder import MAX_USES, Decoder
from triage.settings import Decode


@pytest.fixture
def fragile() -> Iterator[Decoder]:
    with Decoder(Decode(max_memory_bytes=2**29, max_seconds=20)) as one:
        yield one


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(image("MR", np.arange(16, dtype=np.uint16).reshape(4, 4)), tmp_path / "good.dcm")


def rle_bomb(path: Path, *, rows: int, columns: int) -> Path:
    """Write a file of a few hundred bytes that claims to be huge."""
    built = image("CT", np.zeros((4, 4), np.int16))
    header = struct.pack("<16I", 2, 64, 66, *[0] * 13)
    built.PixelData = encapsulate([header + b"\x81\x00" * 2])
    built.Rows, built.Columns = rows, columns
    built.file_meta.TransferSyntaxUID = RLELossless
    return write(built, path)


def pid(decoder: Decoder) -> int:
    assert decoder._child is not None
    return decoder._child.process.pid


def works(decoder: Decoder, good: Path) -> bool:
    return bool(decoder.decode([good]).pixels.sum() == 120)


class Abandoned(Exception):
    """Somebody interrupted the parent."""


class TestLimits:
    def test_a_small_file_that_claims_four_billion_pixels_is_broken(
        self, fragile: Decoder, good: Path, tmp_path: Path
    ) -> None:
        bomb = rle_bomb(tmp_path / "bomb.dcm", rows=65535, columns=65535)
        assert bomb.stat().st_size < 1024
        with pytest.raises(Broken, match="resource-limit: the headers claim more than 2000000000"):
            fragile.decode([bomb])
        assert works(fragile, good)

    def test_a_claim_beyond_the_memory_is_broken_before_it_is_decoded(
        self, fragile: Decoder, good: Path, tmp_path: Path
    ) -> None:
        bomb = rle_bomb(tmp_path / "bomb.dcm", rows=30000, columns=30000)
        assert works(fragile, good)
        began = time.monotonic()
        with pytest.raises(Broken, match="resource-limit: the pixels would not fit"):
            fragile.decode([bomb])
        assert time.monotonic() - began < 2.0
        assert works(fragile, good)

    def test_a_claim_within_the_limits_that_is_a_lie_is_held(
        self, fragile: Decoder, good: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(Held, match="pixel-data"):
            fragile.decode([rle_bomb(tmp_path / "bomb.dcm", rows=4000, columns=4000)])
        assert works(fragile, good)

    def test_a_codestream_far_larger_than_its_header_says_ends_in_a_coded_error(
        self, fragile: Decoder, good: Path, tmp_path: Path
    ) -> None:
        size = struct.pack(
            ">HHIIIIIIIIHBBB", 41, 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0, 1, 15, 1, 1
        )
        built = image("CT", np.zeros((4, 4), np.int16))
        built.PixelData = encapsulate([b"\xff\x4f\xff\x51" + size + b"\xff\xd9"])
        built.file_meta.TransferSyntaxUID = JPEG2000Lossless
        with pytest.raises((Held, Broken)) as caught:
            fragile.decode([write(built, tmp_path / "x.dcm")])
        assert caught.value.reason.code in {"pixel-data", "resource-limit", "crashed"}
        assert works(fragile, good)

    def test_memory_that_runs_out_in_the_child_is_a_resource_limit(self, tmp_path: Path) -> None:
        paths = stack(tmp_path, np.zeros((2, 4000, 4000), np.int16))
        with Decoder(Decode(max_memory_bytes=272 * 2**20)) as narrow:
            with pytest.raises(Broken, match="resource-limit"):
                narrow.decode(paths)
            assert narrow._child is None

    def test_a_child_that_hangs_is_ended_and_replaced(self, good: Path) -> None:
        with Decoder(Decode(max_seconds=1.5)) as hasty:
            assert works(hasty, good)
            os.kill(pid(hasty), signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(Broken, match="resource-limit: decoding took longer"):
                hasty.decode([good])
            assert time.monotonic() - began < 10.0
            assert works(hasty, good)


class TestDeaths:
    @pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
    def test_a_child_killed_in_the_middle_of_a_request_is_a_later_attempt(
        self, fragile: Decoder, good: Path, signal_number: int
    ) -> None:
        assert works(fragile, good)
        with pytest.raises(TryAgain, match="ended from outside"), killing(fragile, signal_number):
            fragile.decode([good])
        assert works(fragile, good)

    def test_a_codec_that_crashes_is_broken(self, fragile: Decoder, good: Path) -> None:
        assert works(fragile, good)
        with pytest.raises(Broken, match="ended with -11"), killing(fragile, signal.SIGSEGV):
            fragile.decode([good])
        assert works(fragile, good)

    def test_too_much_processor_time_is_a_resource_limit(
        self, fragile: Decoder, good: Path
    ) -> None:
        assert works(fragile, good)
        with pytest.raises(Broken, match="resource-limit"), killing(fragile, signal.SIGXCPU):
            fragile.decode([good])
        assert works(fragile, good)

    def test_a_child_that_died_between_requests_is_a_later_attempt(
        self, fragile: Decoder, good: Path
    ) -> None:
        assert works(fragile, good)
        os.kill(pid(fragile), signal.SIGKILL)
        with pytest.raises(TryAgain):
            fragile.decode([good])
        assert works(fragile, good)

    def test_an_abandoned_request_never_answers_the_next_one(
        self, fragile: Decoder, good: Path, tmp_path: Path
    ) -> None:
        def abandon(*_: object) -> None:
            raise Abandoned

        other = write(image("MR", np.ones((2, 2), np.uint16)), tmp_path / "other.dcm")
        assert works(fragile, good)
        former = signal.signal(signal.SIGUSR1, abandon)
        os.kill(pid(fragile), signal.SIGSTOP)
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        try:
            with pytest.raises(Abandoned):
                fragile.decode([other])
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, former)
        assert works(fragile, good)

    def test_a_file_that_is_gone_is_broken(self, fragile: Decoder, tmp_path: Path) -> None:
        with pytest.raises(Broken, match="corrupt"):
            fragile.decode([tmp_path / "none.dcm"])


class TestLife:
    def test_one_child_serves_many_requests_and_is_then_replaced(
        self, fragile: Decoder, good: Path
    ) -> None:
        assert works(fragile, good)
        first = pid(fragile)
        assert works(fragile, good)
        assert pid(fragile) == first
        assert fragile._child is not None
        fragile._child.uses = MAX_USES
        assert works(fragile, good)
        assert pid(fragile) != first

    def test_closing_leaves_no_process(self, good: Path) -> None:
        with Decoder(Decode()) as one:
            assert works(one, good)
            child = pid(one)
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)

    def test_the_result_outlives_the_child(self, good: Path) -> None:
        with Decoder(Decode()) as one:
            decoded = one.decode([good])
        decoded.pixels[0, 0, 0] = 7.0
        assert decoded.pixels.sum() == 127

    def test_a_series_comes_in_the_order_of_its_files(
        self, fragile: Decoder, tmp_path: Path
    ) -> None:
        volume = np.arange(3 * 4, dtype=np.int16).reshape(3, 2, 2)
        paths = stack(tmp_path, volume, gap_mm=2.5)
        decoded = fragile.decode(paths[::-1])
        assert np.array_equal(decoded.pixels, volume[::-1])
        assert decoded.geometry is not None
        assert decoded.geometry.positions_mm().tolist() == [5.0, 2.5, 0.0]

    def test_bundled_ct_keeps_its_place(self, fragile: Decoder) -> None:
        geometry = fragile.decode([bundled("CT_small.dcm")]).geometry
        assert geometry is not None
        assert geometry.origins_mm[0] == pytest.approx((-158.135803, -179.035797, -75.699997))


class killing:  # noqa: N801 - reads as a word of the sentence
    """Stop the child, and end it with a signal while the request waits for its answer."""

    def __init__(self, decoder: Decoder, signal_number: int) -> None:
        self._child = pid(decoder)
        self._timer = threading.Timer(0.3, self._kill, (signal_number,))

    def __enter__(self) -> None:
        os.kill(self._child, signal.SIGSTOP)
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.join()

    def _kill(self, signal_number: int) -> None:
        os.kill(self._child, signal_number)
        os.kill(self._child, signal.SIGCONT)
