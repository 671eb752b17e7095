import pytest
import torch

from models.contract import BadParams
from models.tokens import (
    complementary,
    drawn,
    filled,
    hidden,
    patch_count,
    picked,
    positions,
    to_images,
    to_patches,
)


class TestPatches:
    def test_they_are_cut_in_rows_from_the_top_left(self) -> None:
        image = torch.arange(16.0).reshape(1, 1, 4, 4)
        assert to_patches(image, 2)[0, 0].tolist() == [
            [0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15],
        ]  # fmt: skip

    def test_putting_them_together_undoes_the_cutting(self) -> None:
        images = torch.rand(2, 3, 12, 12)
        assert torch.equal(to_images(to_patches(images, 3), 3), images)

    def test_a_quarter_of_them_must_be_a_whole_number(self) -> None:
        assert patch_count(224, 16) == 196
        with pytest.raises(BadParams, match="twice patch_px"):
            patch_count(24, 8)


class TestPositions:
    def test_no_two_places_are_alike_and_none_is_larger_than_another(self) -> None:
        place = positions(64, 16)
        assert (torch.cdist(place, place) + torch.eye(64) > 0.1).all()
        assert torch.allclose(place.norm(dim=1), torch.full((64,), 8**0.5))

    def test_a_row_shares_its_half_and_a_column_the_other(self) -> None:
        grid = positions(16, 8).reshape(4, 4, 8)
        assert torch.equal(grid[2, 0, :4], grid[2, 3, :4])
        assert torch.equal(grid[0, 1, 4:], grid[3, 1, 4:])

    def test_their_features_must_be_divisible_by_four(self) -> None:
        with pytest.raises(BadParams, match="divisible by 4"):
            positions(16, 6)


class TestMasks:
    @pytest.mark.parametrize("repeats", [1, 3])
    def test_every_patch_is_hidden_equally_often(self, repeats: int) -> None:
        masks = complementary(64, repeats, seed=5)
        assert masks.shape == (4 * repeats, 16)
        assert hidden(masks, 64).sum(0).tolist() == [3 * repeats] * 64

    def test_the_seed_alone_decides_them(self) -> None:
        torch.manual_seed(1)
        first = complementary(16, 2, seed=5)
        torch.manual_seed(2)
        assert torch.equal(complementary(16, 2, seed=5), first)
        assert not torch.equal(complementary(16, 2, seed=6), first)

    def test_drawn_ones_show_a_quarter_of_each_image_and_differ(self) -> None:
        torch.manual_seed(0)
        masks = drawn(8, 64)
        assert masks.shape == (8, 16)
        assert all(len(set(one)) == 16 for one in masks.tolist())
        assert len({tuple(sorted(one)) for one in masks.tolist()}) == 8

    def test_drawn_ones_follow_the_global_generator(self) -> None:
        torch.manual_seed(3)
        first = drawn(4, 16)
        torch.manual_seed(3)
        assert torch.equal(drawn(4, 16), first)


def test_visible_tokens_come_back_to_their_places_among_masked_ones() -> None:
    tokens, visible = torch.rand(2, 8, 4), torch.tensor([[5, 0], [2, 7]])
    seen = picked(tokens, visible[:, None])
    assert torch.equal(seen[1, 0, 0], tokens[1, 2])
    whole = filled(seen.flatten(0, 1), visible, torch.full((4,), -1.0), 8)
    for image, places in enumerate(visible.tolist()):
        for place in range(8):
            expected = tokens[image, place] if place in places else torch.full((4,), -1.0)
            assert torch.equal(whole[image, place], expected)
