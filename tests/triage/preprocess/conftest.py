"""One decoding child for all tests that do not harm it."""

from collections.abc import Iterator

import pytest
import torch

from triage.preprocess.decoder import Decoder
from triage.settings import Decode


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    """Give a decoder with room enough."""
    torch.set_num_threads(1)
    with Decoder(Decode(max_memory_bytes=2**31, max_seconds=30)) as one:
        yield one
