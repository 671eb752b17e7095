import pytest
import torch

from models.patchwise import Decoder, Encoder, InPainting
from models.space_memory import Asking, SpaceMemory


def _inpainting(sight: str = "own", grid: int = 4) -> InPainting:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return InPainting(grid, 8, 2, sight)  # type: ignore[arg-type]


CENTRE = 5
"""In a grid of 4 by 4: row 1, column 1."""
AROUND = {0, 1, 2, 4, 6, 8, 9, 10}


class TestInPainting:
    @pytest.mark.parametrize("sight", ["own", "blind"])
    def test_the_answer_to_the_centre_is_not_among_what_the_centre_takes(self, sight: str) -> None:
        block, query, answer = _inpainting(sight), torch.randn(2, 16, 8), torch.randn(2, 16, 8)
        before = block.attend(query, answer)
        changed = answer.clone()
        changed[:, CENTRE] += torch.randn(2, 8)
        after = block.attend(query, changed)
        assert torch.equal(before[:, CENTRE], after[:, CENTRE])
        assert set(_moved(before, after)) == AROUND

    def test_it_takes_from_its_eight_neighbours_and_nobody_else(self) -> None:
        block, query = _inpainting(), torch.randn(1, 16, 8)
        answer = torch.randn(1, 16, 8, requires_grad=True)
        taken = block.attend(query, answer)[0, CENTRE].sum()
        (slope,) = torch.autograd.grad(taken, answer)
        assert set(slope[0].abs().sum(-1).nonzero()[:, 0].tolist()) == AROUND

    def test_a_corner_takes_from_the_three_there_are(self) -> None:
        block, query = _inpainting(), torch.randn(1, 16, 8)
        answer = torch.randn(1, 16, 8, requires_grad=True)
        (slope,) = torch.autograd.grad(block.attend(query, answer)[0, 0].sum(), answer)
        assert slope[0].abs().sum(-1).nonzero()[:, 0].tolist() == [1, 4, 5]

    def test_blind_its_own_features_reach_it_in_no_way(self) -> None:
        block, query, answer = _inpainting("blind"), torch.randn(2, 16, 8), torch.randn(2, 16, 8)
        before = block(query, answer)
        other, changed = query.clone(), answer.clone()
        other[:, CENTRE] += torch.randn(2, 8)
        changed[:, CENTRE] += torch.randn(2, 8)
        assert torch.equal(block(other, changed)[:, CENTRE], before[:, CENTRE])

    def test_seeing_its_own_features_choose_among_the_neighbours(self) -> None:
        block, query, answer = _inpainting(), torch.randn(2, 16, 8), torch.randn(2, 16, 8)
        other = query.clone()
        other[:, CENTRE] += torch.randn(2, 8)
        assert _moved(block(query, answer), block(other, answer)) == [CENTRE]
        # Of neighbours that are all alike there is nothing to choose, so nothing of it arrives.
        alike = answer[:, :1].expand(-1, 16, -1)
        block.place_PF.data.zero_()
        assert torch.allclose(block(query, alike), block(other, alike), atol=1e-6)


class TestDecoder:
    def test_the_way_there_and_back_keeps_the_size(self) -> None:
        patches = torch.rand(8, 1, 16, 16)
        maps = Encoder((8, 16, 24))(patches)
        assert [each.shape[-1] for each in maps] == [16, 8, 4, 2]
        image, made = Decoder((8, 16, 24), 2, ())(maps[-1], maps)
        assert image.shape == (2, 1, 32, 32)
        assert [tuple(each.shape) for each in made] == [
            (8, 16, 4, 4), (8, 8, 8, 8), (2, 8, 32, 32)
        ]  # fmt: skip

    def test_a_memory_hides_from_the_rest_what_it_does_not_know(self) -> None:
        memories = [SpaceMemory(16, 1, 8 * 4, Asking()), SpaceMemory(16, 1, 8 * 16, Asking())]
        decoder = Decoder((8, 8), 2, memories)
        one, other = (Encoder((8, 8))(torch.rand(4, 1, 8, 8)) for _ in range(2))
        # Of one slot a place there is one answer, whatever is asked.
        assert torch.equal(decoder(one[-1], one)[0], decoder(other[-1], other)[0])

    def test_its_memories_know_their_place_in_the_image(self) -> None:
        memories = [SpaceMemory(16, 1, 8 * 4, Asking()), SpaceMemory(16, 1, 8 * 16, Asking())]
        decoder = Decoder((8, 8), 2, memories)
        maps = Encoder((8, 8))(torch.rand(4, 1, 8, 8))
        before = decoder(maps[-1], maps)[1][0]
        assert memories[0].learned_PMF is not None
        memories[0].learned_PMF.data[3] += 1  # the upper right corner of the image
        after = decoder(maps[-1], maps)[1][0]
        moved = (before != after).any(1).nonzero()
        assert {tuple(each) for each in moved.tolist()} == {
            (1, row, column) for row in (0, 1) for column in (2, 3)
        }


def _moved(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    """Name the places whose features changed, of the first image."""
    places: list[int] = (before[0] != after[0]).any(-1).nonzero()[:, 0].tolist()
    return places
