"""A DataLoader that can go on in the middle of an epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from tuneflow.errors import InvalidArgumentType
from tuneflow_integrations.torch.generators import generator_states, set_generator_states

__all__ = ["ResumableLoader"]


class ResumableLoader:
    """Wraps a ``DataLoader`` so that its place in the epoch can be saved and taken up again.

    A plain loader knows nothing of where it is: a training that is saved in mid-epoch and resumed sees its first
    batches again. This one remembers how many batches it has handed out and the generators' states at the start of
    the epoch; when it goes on it draws the same order again and passes over the indices of the batches that were
    handed out, without loading them. Between epochs nothing of this is needed: there a plain loader resumes exactly.

    PyTorch Lightning finds ``state_dict`` by itself. Random transforms in worker processes (``num_workers > 0``) are
    drawn anew after a resume in mid-epoch; those in the process itself are not. The data of an ``IterableDataset``
    are read again up to the place.

    Args:
        loader: the loader. Not with ``persistent_workers=True``, whose workers cannot start in mid-epoch.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> def make():
        ...     generator = torch.Generator().manual_seed(1)
        ...     return ResumableLoader(DataLoader(range(6), batch_size=2, shuffle=True, generator=generator))
        >>> whole = [batch.tolist() for batch in make()]
        >>> loader = make()
        >>> first = next(iter(loader)).tolist()
        >>> other = make()
        >>> other.load_state_dict(loader.state_dict())
        >>> [first, *(batch.tolist() for batch in other)] == whole
        True
    """

    def __init__(self, loader: Any) -> None:
        if not isinstance(loader, DataLoader):
            raise InvalidArgumentType(f"loader={loader!r} must be a torch.utils.data.DataLoader")
        if loader.persistent_workers:
            raise InvalidArgumentType(
                "persistent_workers=True keeps workers that cannot start in mid-epoch; leave it out for ResumableLoader"
            )
        self.loader = loader
        self._position = 0
        self._start: dict[str, Any] | None = None
        self._resumes = False

    @property
    def dataset(self) -> Any:
        return self.loader.dataset

    @property
    def batch_size(self) -> int | None:
        size: int | None = self.loader.batch_size
        return size

    @property
    def sampler(self) -> Any:
        """The loader's sampler; Lightning tells it the epoch."""
        return self.loader.sampler

    @property
    def batch_sampler(self) -> Any:
        return self.loader.batch_sampler

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """The rest of the epoch after ``load_state_dict``, else a whole one.

        The order is drawn here and not at the first batch: where the caller restores generators in between, as
        Lightning does, it must be the state before that counts.
        """
        if self._resumes and self._start is not None:
            self._resumes = False
            iterator = self._go_on(self._start, self._position)
        else:
            self._position = 0
            self._start = self._states()
            iterator = iter(self.loader)
        return self._counted(iterator)

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch; tensors and plain values only."""
        return {"position": self._position, "start": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next iteration goes on from there; after the last batch of an epoch, with the next epoch."""
        self._position, self._start = state["position"], state["start"]
        self._resumes = self._start is not None and 0 < self._position < self._n_batches()

    def _n_batches(self) -> float:
        try:
            return len(self.loader)
        except TypeError:  # an IterableDataset without a length
            return float("inf")

    def _counted(self, iterator: Iterator[Any]) -> Iterator[Any]:
        for batch in iterator:
            self._position += 1
            yield batch
        self._start = None  # the epoch is over: the next one draws its own order

    def _states(self) -> dict[str, Any]:
        """What an epoch's order can depend on: the global generators, and those of the loader and its sampler."""
        own = {str(index): generator.get_state() for index, generator in enumerate(self._generators())}
        return {"global": generator_states(), "own": own}

    def _generators(self) -> list[torch.Generator]:
        loader = self.loader
        holders = (loader, loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
        found = {id(held): held for held in (getattr(holder, "generator", None) for holder in holders) if held}
        return list(found.values())

    def _go_on(self, start: dict[str, Any], position: int) -> Any:
        now = generator_states()
        set_generator_states(start["global"])
        for index, generator in enumerate(self._generators()):
            generator.set_state(start["own"][str(index)])
        try:
            if isinstance(self.loader.dataset, IterableDataset):
                iterator = iter(self.loader)
                for _ in itertools.islice(iterator, position):
                    pass
            else:
                iterator = self._without(position)
        finally:
            set_generator_states(now)
        return iterator

    def _without(self, position: int) -> Any:
        """The loader's iterator, with the first batches' indices passed over."""
        # The iterator made by the loader itself draws what an ordinary epoch draws, in the same order; only then are
        # its indices moved on. Those of worker processes would be on their way already: there a second loader is made.
        if self.loader.num_workers == 0:
            iterator: Any = iter(self.loader)
            for _ in range(position):
                next(iterator._sampler_iter)
            return iterator
        torch.empty((), dtype=torch.int64).random_(generator=self.loader.generator)  # the workers' seed comes first
        order = iter(self.loader._index_sampler)
        rest = list(itertools.islice(order, position, None))
        loader = self.loader
        batched = loader.batch_sampler is not None
        again: Any = DataLoader(
            loader.dataset,
            **({"batch_sampler": rest} if batched else {"batch_size": None, "sampler": rest}),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
            pin_memory_device=loader.pin_memory_device,
        )
        return iter(again)
