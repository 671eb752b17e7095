import pytest
import torch

from models.space_memory import (
    Asking,
    HierarchicalMemory,
    SpaceMemory,
    cut,
    stitch,
    strongest,
)


def _memory(seed: int = 0, **asking: object) -> SpaceMemory:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SpaceMemory(4, 6, 8, Asking(**asking))  # type: ignore[arg-type]


class TestCut:
    def test_it_gives_the_pieces_of_an_image_in_rows(self) -> None:
        image = torch.arange(16.0).reshape(1, 1, 4, 4)
        pieces = cut(image, 2)
        assert pieces[:, 0, 0, 0].tolist() == [0, 2, 8, 10]
        assert torch.equal(pieces[1, 0], torch.tensor([[2.0, 3.0], [6.0, 7.0]]))

    def test_stitching_puts_every_image_together_again(self) -> None:
        images = torch.rand(3, 2, 12, 8)
        assert torch.equal(stitch(cut(images, 4), 4), images)


class TestStrongest:
    def test_it_keeps_the_largest_weights_and_lets_them_sum_to_one(self) -> None:
        kept = strongest(torch.tensor([[[0.1, 0.4, 0.2, 0.3]]]), 2)
        assert torch.allclose(kept, torch.tensor([[[0.0, 4 / 7, 0.0, 3 / 7]]]))

    def test_its_gradient_is_that_of_all_weights_also_of_those_dropped(self) -> None:
        logit = torch.tensor([[[1.0, 2.0, 3.0]]], requires_grad=True)
        toward = torch.tensor([5.0, 0.0, 0.0])
        (found,) = torch.autograd.grad((strongest(logit.softmax(-1), 1) * toward).sum(), logit)
        (expected,) = torch.autograd.grad((logit.softmax(-1) * toward).sum(), logit)
        assert torch.equal(found, expected)
        assert found[0, 0, 0] != 0

    def test_more_slots_than_there_are_means_all(self) -> None:
        weight = torch.tensor([[[0.25, 0.75]]])
        assert torch.allclose(strongest(weight, 5), weight)


class TestSpaceMemory:
    def test_a_place_is_answered_from_its_own_slots_alone(self) -> None:
        memory, query = _memory(), torch.randn(2, 4, 8)
        before, _ = memory(query)
        assert memory.learned_PMF is not None
        with torch.no_grad():
            memory.learned_PMF[1] += torch.randn(6, 8)
        after, _ = memory(query)
        same = (before == after).all(-1).all(0)
        assert same.tolist() == [True, False, True, True]

    def test_the_same_features_are_answered_otherwise_elsewhere(self) -> None:
        answer, _ = _memory()(torch.randn(1, 1, 8).expand(1, 4, 8))
        assert (answer[0, 0] != answer[0, 1]).any()

    def test_a_stored_pattern_is_wholly_alike_and_comes_back(self) -> None:
        memory = _memory(kept=1)
        slots = memory.slots().detach()
        answer, alike = memory(3 * slots[:, 2][None])  # a cosine asks for no length
        assert torch.allclose(answer[0], slots[:, 2])
        assert alike[0].tolist() == pytest.approx([1.0] * 4, abs=1e-6)

    def test_its_noise_is_of_the_training_alone(self) -> None:
        memory, query = _memory(gumbel=1.0), torch.randn(1, 4, 8)
        assert not torch.equal(memory(query)[0], memory(query)[0])
        memory.eval()
        assert torch.equal(memory(query)[0], memory(query)[0])


class TestQueue:
    def test_it_takes_in_what_was_asked_and_lets_the_oldest_go(self) -> None:
        memory = _memory(keeping="queue")
        before, query = memory.slots().clone(), torch.randn(4, 4, 8)
        memory(query)
        assert torch.equal(memory.slots(), before)  # not before it is told to
        memory.remember()
        assert torch.equal(memory.slots()[:, :2], before[:, 4:])
        assert torch.equal(memory.slots()[:, 2:], query.transpose(0, 1))

    def test_of_more_than_it_holds_it_keeps_the_last(self) -> None:
        memory, query = _memory(keeping="queue"), torch.randn(9, 4, 8)
        memory(query)
        memory.remember()
        assert torch.equal(memory.slots(), query[3:].transpose(0, 1))

    def test_it_takes_in_nothing_twice_and_nothing_asked_in_evaluation(self) -> None:
        memory = _memory(keeping="queue")
        memory(torch.randn(2, 4, 8))
        memory.remember()
        before = memory.slots().clone()
        memory.remember()
        memory.eval()
        memory(torch.randn(2, 4, 8))
        memory.remember()
        assert torch.equal(memory.slots(), before)

    def test_its_slots_are_saved_as_no_float_that_an_average_could_blend(self) -> None:
        (saved,) = _memory(keeping="queue").state_dict().values()
        assert not saved.is_floating_point()

    def test_a_learned_memory_remembers_by_gradient_alone(self) -> None:
        memory = _memory()
        before = memory.slots().detach().clone()
        memory(torch.randn(4, 4, 8))
        memory.remember()
        assert torch.equal(memory.slots(), before)


class TestHierarchicalMemory:
    def test_the_levels_are_asked_for_patches_blocks_and_the_whole(self) -> None:
        memory = HierarchicalMemory(4, (5, 4, 3), 8, Asking())
        shapes = [
            tuple(value.shape) for name, value in memory.state_dict().items() if "PMF" in name
        ]
        assert shapes == [(16, 5, 8), (4, 4, 8), (1, 3, 8)]
        answer, alike = memory(torch.randn(2, 16, 8))
        assert answer.shape == (2, 16, 8)
        assert alike.shape == (2, 16)

    def test_a_block_asks_with_its_patches_mean_and_the_whole_with_their_largest(self) -> None:
        asked: list[torch.Tensor] = []
        memory = HierarchicalMemory(4, (5, 4, 3), 8, Asking())
        for level in memory.levels:
            level.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
        query = torch.randn(2, 16, 8)
        memory(query)
        _, blocks, whole = asked
        # The second block of the first row holds columns 2 and 3 of rows 0 and 1.
        assert torch.allclose(blocks[:, 1], query[:, [2, 3, 6, 7]].mean(1))
        assert torch.equal(whole[:, 0], query.amax(1))

    def test_every_patch_gets_its_own_blocks_answer(self) -> None:
        memory = HierarchicalMemory(4, (5, 4), 8, Asking())
        spread = memory._spread(torch.arange(4.0).reshape(1, 4, 1), 1)[0, :, 0]
        rows = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
        assert spread.reshape(4, 4).tolist() == rows

    def test_of_one_level_the_answer_is_given_as_it_is(self) -> None:
        memory = HierarchicalMemory(2, (5,), 8, Asking())
        query = torch.randn(2, 4, 8)
        assert torch.equal(memory(query)[0], memory.levels[0](query)[0])
