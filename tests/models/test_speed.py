import torch
from torch import Tensor

from models.speed import PlainAutoencoder, speed


def test_the_plainest_autoencoder_scores_each_image_for_itself() -> None:
    torch.manual_seed(0)
    plain, voxels = PlainAutoencoder(), torch.rand(4, 1, 32, 32)
    together, alone = plain.score(voxels), torch.cat([plain.score(one[None]) for one in voxels])
    assert together.shape == (4,)
    assert torch.allclose(together, alone, atol=1e-6)


def test_twice_the_work_has_half_the_speed() -> None:
    plain, voxels = PlainAutoencoder(), torch.rand(16, 1, 64, 64)

    def four_times(batch: Tensor) -> None:
        for _ in range(4):
            plain.score(batch)

    found = speed(four_times, voxels)
    assert 0.1 < found.detector / found.plain < 0.6
    assert found.plain > 1


def test_the_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        speed(PlainAutoencoder().score, torch.rand(2, 1, 16, 16))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
