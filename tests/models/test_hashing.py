import pytest
import torch
from torch import Tensor

from models import hashing
from models.hashing import hamming, nearest, nearest_few, ones, pack


def _bits(rows: int, bits: int = 128, seed: int = 0) -> Tensor:
    return torch.rand(rows, bits, generator=torch.Generator().manual_seed(seed)) > 0.5


class TestPack:
    def test_the_first_bit_is_the_lowest_of_the_first_word(self) -> None:
        bits = torch.zeros(1, 128, dtype=torch.bool)
        bits[0, [0, 3, 64]] = True
        assert torch.equal(pack(bits), torch.tensor([[9, 1]]))

    def test_the_last_bit_is_the_sign(self) -> None:
        bits = torch.zeros(1, 64, dtype=torch.bool)
        bits[0, 63] = True
        assert pack(bits).item() == -(2**63)


class TestHamming:
    @pytest.mark.parametrize("bits", [64, 128, 192, 256])
    def test_it_is_the_number_of_bits_that_differ(self, bits: int) -> None:
        query, slot = _bits(37, bits), _bits(50, bits, seed=1)
        found = hamming(pack(query), pack(slot))
        assert torch.equal(found.long(), (query[:, None] != slot).sum(2))

    def test_codes_that_differ_in_every_bit_are_as_far_as_codes_can_be(self) -> None:
        none = torch.zeros(1, 256, dtype=torch.bool)
        assert hamming(pack(none), pack(~none)).item() == 256

    def test_many_queries_are_counted_in_blocks_to_the_same_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        query, slot = pack(_bits(37)), pack(_bits(50, seed=1))
        whole = hamming(query, slot)
        monkeypatch.setattr(hashing, "BLOCK", 120)
        assert torch.equal(hamming(query, slot), whole)

    def test_ones_are_counted_in_negative_words_too(self) -> None:
        words = torch.tensor([0, 1, -1, -(2**63), 2**63 - 1, 0x5555])
        assert ones(words).tolist() == [0, 1, 64, 1, 63, 8]

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_a_gpu_packs_and_counts_the_same(self) -> None:
        query, slot = _bits(37), _bits(50, seed=1)
        there = hamming(pack(query.cuda()), pack(slot.cuda())).cpu()
        assert torch.equal(there, hamming(pack(query), pack(slot)))


class TestNearest:
    def test_it_is_the_slot_of_the_smallest_distance(self) -> None:
        distance = torch.tensor([[3, 1, 2], [0, 5, 5]], dtype=torch.uint8)
        assert nearest(distance, torch.rand(2, 4), torch.rand(3, 4)).tolist() == [1, 0]

    def test_of_equally_near_ones_the_likest_chances_win(self) -> None:
        distance = torch.tensor([[1, 1, 1]], dtype=torch.uint8)
        slot = torch.tensor([[0.9, 0.9], [0.6, 0.7], [0.8, 0.9]])
        assert nearest(distance, torch.tensor([[0.7, 0.7]]), slot).tolist() == [1]

    def test_of_equally_like_ones_the_first(self) -> None:
        distance = torch.tensor([[2, 1, 1, 1], [0, 1, 1, 1]], dtype=torch.uint8)
        found = nearest(distance, torch.full((2, 2), 0.7), torch.full((4, 2), 0.7))
        assert found.tolist() == [1, 0]

    def test_an_answer_does_not_depend_on_the_other_queries(self) -> None:
        query, slot = torch.rand(40, 64), torch.rand(30, 64)
        distance = torch.randint(3, (40, 30))
        alone = [nearest(distance[i : i + 1], query[i : i + 1], slot) for i in range(40)]
        assert torch.equal(nearest(distance, query, slot), torch.cat(alone))

    def test_a_memory_whose_codes_are_all_alike_is_weighed_piece_by_piece(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slot = torch.rand(20, 64)
        monkeypatch.setattr(hashing, "PAIRS", 7)
        assert torch.equal(nearest(torch.zeros(20, 20), slot, slot), torch.arange(20))

    def test_the_few_nearest_come_in_order_and_ties_by_index(self) -> None:
        distance = torch.tensor([[3, 1, 2, 1]], dtype=torch.uint8)
        assert nearest_few(distance, 3).tolist() == [[1, 3, 2]]
        assert nearest_few(distance, 9).tolist() == [[1, 3, 2, 0]]
