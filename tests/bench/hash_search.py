"""Measure the search by hash codes: ``python -m tests.bench.hash_search``.

One thread of the CPU looks up the nearest of the slots for every place of an image, by cosine over
the floats and by Hamming distance over packed 128-bit codes. ``search`` begins with the queries'
unit vectors or codes in hand, ``whole`` with bare queries: it makes them. The slots' are in hand in
both. ``bytes`` is what one slot takes in the table that is searched.
"""

from collections.abc import Callable
from time import process_time

import torch
import torch.nn.functional as F

from models.hashing import hamming, nearest, pack

BITS = 128
CASES = ((64, 2000, 128), (841, 2000, 512), (841, 20_000, 512), (8, 2000, 13_456))
"""Queries, slots, features: one small image, one of the paper's, a larger memory, whole maps."""
TIMES = 15


def main() -> None:
    """Print a line a case."""
    torch.set_num_threads(1)
    print(  # noqa: T201 - its output
        f"{'queries':>8} {'slots':>6} {'features':>8} {'bytes':>12} "
        f"{'search, ms':>16} {'ratio':>6} {'whole, ms':>16} {'ratio':>6}"
    )
    for queries, slots, features in CASES:
        cosine, hashed, cosine_whole, hashed_whole = _times(queries, slots, features)
        print(  # noqa: T201 - its output
            f"{queries:8} {slots:6} {features:8} {4 * features:6}/{BITS // 8:<5} "
            f"{cosine:8.2f}/{hashed:<7.2f} {cosine / hashed:6.2f} "
            f"{cosine_whole:8.2f}/{hashed_whole:<7.2f} {cosine_whole / hashed_whole:6.2f}"
        )


def _times(queries: int, slots: int, features: int) -> tuple[float, float, float, float]:
    generator = torch.Generator().manual_seed(0)
    query_PF = torch.randn(queries, features, generator=generator)
    slot_MF = F.normalize(torch.randn(slots, features, generator=generator), dim=1)
    weight_BF = torch.randn(BITS, features, generator=generator) / features**0.5
    unit_PF = F.normalize(query_PF, dim=1)
    query_PB, slot_MB = ((each @ weight_BF.T).sigmoid() for each in (query_PF, slot_MF))
    query_PW, slot_MW = pack(query_PB > 0.5), pack(slot_MB > 0.5)

    def hashed_whole() -> object:
        chance_PB = (query_PF @ weight_BF.T).sigmoid()
        return nearest(hamming(pack(chance_PB > 0.5), slot_MW), chance_PB, slot_MB)

    return (
        _least_ms(lambda: (unit_PF @ slot_MF.T).argmax(1)),
        _least_ms(lambda: nearest(hamming(query_PW, slot_MW), query_PB, slot_MB)),
        _least_ms(lambda: (F.normalize(query_PF, dim=1) @ slot_MF.T).argmax(1)),
        _least_ms(hashed_whole),
    )


def _least_ms(once: Callable[[], object]) -> float:
    found = []
    for _ in range(TIMES):
        start = process_time()
        once()
        found.append(process_time() - start)
    return 1000 * min(found)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
