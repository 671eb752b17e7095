from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.contract import BadParams
from models.hash_memory import Bank, EmptyBank, HashMemory, differing, straight


def _memory(slots: int = 12, features: int = 8, **options: object) -> HashMemory:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HashMemory(slots, features, **options)  # type: ignore[arg-type]


def _queries(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


class TestBits:
    def test_they_are_whole_and_pass_the_chances_gradient_back(self) -> None:
        chance = torch.tensor([[0.2, 0.5, 0.7]], requires_grad=True)
        bits = straight(chance)
        torch.autograd.backward(bits, torch.tensor([[1.0, 2.0, 3.0]]))
        assert bits.tolist() == [[0.0, 0.0, 1.0]]
        assert chance.grad is not None
        assert chance.grad.tolist() == [[1.0, 2.0, 3.0]]

    def test_the_learned_distance_is_the_hamming_distance(self) -> None:
        one, other = torch.randint(2, (5, 64)), torch.randint(2, (7, 64))
        found = differing(one.float(), other.float())
        assert torch.equal(found.long(), (one[:, None] != other).sum(2))


class TestLookingUp:
    def test_a_stored_query_gives_exactly_its_own_slot(self) -> None:
        memory = _memory()
        with torch.no_grad():
            assert torch.equal(memory(memory.slots_MF), memory.slots_MF)

    @pytest.mark.parametrize("address", ["hard", "soft"])
    def test_it_gives_what_learning_gives(self, address: str) -> None:
        memory = _memory(address=address).eval()
        learning = memory(_queries(20))
        with torch.no_grad():
            assert torch.allclose(memory(_queries(20)), learning, atol=1e-6)

    def test_a_hard_address_is_one_slot_and_a_soft_one_the_nearest_mixed(self) -> None:
        hard, soft = _memory(), _memory(address="soft", few=3)
        index_PK, weight_PK = soft.look_up(_queries(20))
        bits, slots = (soft.hash(each) > 0 for each in (_queries(20), soft.slots_MF))
        distance = (bits[:, None] != slots).sum(2)
        assert index_PK.shape == (20, 3)
        assert torch.equal(distance.gather(1, index_PK), distance.sort(1).values[:, :3])
        near = -distance.gather(1, index_PK).float()
        assert torch.allclose(weight_PK, near.softmax(1))
        index_P1, _ = hard.look_up(_queries(20))
        assert torch.equal(distance.gather(1, index_P1)[:, 0], distance.amin(1))

    def test_it_changes_nothing_even_in_training_mode(self) -> None:
        memory = _memory(idle=1)
        before = {name: value.clone() for name, value in memory.state_dict().items()}
        with torch.no_grad():
            memory(_queries(20))
        for name, value in memory.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_slots_that_moved_are_hashed_anew(self) -> None:
        memory = _memory()
        with torch.no_grad():
            memory(_queries(5))
            memory.slots_MF.neg_()
            assert torch.equal(memory(memory.slots_MF), memory.slots_MF)
            memory.load_state_dict(_memory().state_dict())
            assert torch.equal(memory(memory.slots_MF), memory.slots_MF)

    @pytest.mark.parametrize("options", [{"bits": 100}, {"address": "medium"}])
    def test_what_cannot_be_packed_or_addressed_is_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(BadParams):
            _memory(**options)


class TestLearning:
    @pytest.mark.parametrize("address", ["hard", "soft"])
    def test_the_loss_reaches_slots_hash_layer_and_queries(self, address: str) -> None:
        memory, query = _memory(address=address), _queries(20).requires_grad_()
        torch.autograd.backward(F.mse_loss(memory(query), _queries(20, seed=2)))
        for each in (memory.slots_MF, memory.hash.weight, memory.hash.bias, query):
            assert each.grad is not None
            assert each.grad.abs().sum() > 0

    def test_a_slot_learns_from_every_query_that_it_answers(self) -> None:
        memory = _memory()
        with torch.no_grad():
            memory.hash.weight.zero_()  # all codes are alike: the first slot, and no way around
        torch.autograd.backward(memory(_queries(20)).sum())
        assert memory.slots_MF.grad is not None
        assert memory.slots_MF.grad.sum(1).tolist() == [20.0 * 8] + [0.0] * 11

    def test_half_precision_counts_whole_bits(self) -> None:
        memory, query = _memory().eval(), _queries(20)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(memory(query), memory(query.clone()))
            assert memory(query).dtype == torch.float32


class TestDeadSlots:
    def test_one_not_chosen_for_so_many_batches_becomes_a_query(self) -> None:
        memory, query = _memory(idle=3), _queries(4)
        memory.idle_M.zero_()
        used = torch.unique(memory.look_up(query)[0])
        for _ in range(3):
            memory(query)
        assert memory.idle_M[used].tolist() == [0] * len(used)
        dead = (memory.idle_M == 3).nonzero()[:, 0]
        before = memory.slots_MF.detach().clone()
        memory(query)
        changed = (memory.slots_MF != before).any(1).nonzero()[:, 0]
        assert torch.equal(changed, dead[:4])
        assert all((query == slot).all(1).any() for slot in memory.slots_MF[changed])

    def test_all_begin_as_queries_of_the_first_batches(self) -> None:
        memory = _memory()
        memory(_queries(8))
        memory(_queries(8, seed=2))
        seen = torch.cat([_queries(8), _queries(8, seed=2)])
        assert all((seen == slot).all(1).any() for slot in memory.slots_MF)

    def test_none_does_where_that_is_off_or_nothing_is_learned(self) -> None:
        for memory in (_memory(idle=0), _memory(idle=1).eval()):
            before = memory.slots_MF.detach().clone()
            for _ in range(3):
                memory(_queries(4))
            assert torch.equal(memory.slots_MF, before)

    def test_a_memory_put_back_carries_on_where_it_was(self) -> None:
        whole = _memory(idle=2)
        for _ in range(2):
            whole(_queries(4))
        resumed = _memory(idle=2)
        resumed.load_state_dict(whole.state_dict())
        for memory in (whole, resumed):
            with torch.random.fork_rng():
                torch.manual_seed(5)
                memory(_queries(4, seed=3))
        for name, value in resumed.state_dict().items():
            assert torch.equal(value, whole.state_dict()[name]), name


class TestBank:
    def _bank(self) -> Bank:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Bank(12, 8)

    def test_an_empty_one_refuses_to_answer(self) -> None:
        with torch.no_grad(), pytest.raises(EmptyBank, match="settle"):
            self._bank()(_queries(4))

    def test_it_learns_nothing_and_lets_codes_pass_meanwhile(self) -> None:
        bank, query = self._bank(), _queries(4).requires_grad_()
        assert bank(query) is query
        assert not any(each.requires_grad for each in bank.parameters())

    def test_fewer_codes_than_slots_are_all_held_and_found_again(self) -> None:
        bank = self._bank()
        bank.fill([_queries(4), _queries(3, seed=2)])
        held = torch.cat([_queries(4), _queries(3, seed=2)]).half()
        with torch.no_grad():
            assert torch.equal(bank(held.float()), held.float())

    def test_of_more_codes_a_fair_share_of_every_batch_is_held(self) -> None:
        bank = self._bank()
        bank.fill([torch.full((100, 8), float(i)) for i in range(4)])
        counts = torch.bincount(bank.stored()[:, 0].long(), minlength=4)
        assert counts.sum() == 12
        assert (counts > 0).all()
