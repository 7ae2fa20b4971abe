"""Which examples each step, process and micro-batch sees."""

from __future__ import annotations

import torch

from statewise.core.train.device import derive_seed

__all__ = ["Order", "micro_batches"]


class Order:
    """The order of the examples: epoch e visits `randperm(size)` of a generator seeded from (seed, e).

    A step is found again from its number alone: nothing else about the position needs to be kept. The last
    step of an epoch takes what is left, or with `drop_last` is not made unless it is the only one.

    Args:
        size: number of examples.
        batch: examples of one step over all processes and micro-batches.
        seed: seed of the run.
        drop_last: whether to leave out what does not fill a step.
    """

    def __init__(self, size: int, batch: int, seed: int, *, drop_last: bool = False) -> None:
        self.size, self.batch, self.seed = size, batch, seed
        self.steps_per_epoch = max(1, size // batch) if drop_last else -(-size // batch)
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def indices(self, step: int) -> torch.Tensor:
        """(n,) int64: the examples of step number `step`, counted from 0 over all epochs."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "epoch", epoch))
            self._permutation = torch.randperm(self.size, generator=generator)
            self._epoch = epoch
        return self._permutation[place * self.batch : (place + 1) * self.batch]

    def epochs(self, step: int) -> float:
        """Passes over the examples that `step` steps have done."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return epoch + place * self.batch / self.size


def micro_batches(
    indices: torch.Tensor, *, rank: int, world: int, size: int
) -> list[tuple[torch.Tensor, float]]:
    """The share of process `rank` in the examples of a step, in even parts of at most `size`.

    Each part comes with its weight n / len(indices), so that over all processes the weighted sum of mean
    losses is the mean over the step's examples, however unevenly they divide. A process left without any
    takes the first example at weight 0: it must take part in the exchange of gradients.
    """
    share = indices.tensor_split(world)[rank]
    if not len(share):
        return [(indices[:1], 0.0)]
    return [(part, len(part) / len(indices)) for part in share.tensor_split(-(-len(share) // size))]
