"""De-duplication by (producer, epoch, number)."""

from __future__ import annotations


class Deduplicator:
    """Remembers which batches a reader took.

    What lies below the producer's floor is settled for good and forgotten, so
    memory is bounded by what is in flight.
    """

    def __init__(self) -> None:
        self._taken: dict[tuple[str, int], set[int]] = {}
        self._floors: dict[tuple[str, int], int] = {}

    def take(self, producer: str, epoch: int, number: int, floor: int) -> bool:
        """Whether a batch is new; it counts as taken from now on.

        Args:
            producer: Name of the producer.
            epoch: Its incarnation.
            number: Number of the batch.
            floor: The batch's floor: lower numbers are settled by every group.
        """
        key = (producer, epoch)
        taken = self._taken.setdefault(key, set())
        low = self._floors.get(key, 0)
        if number < low or number in taken:
            return False
        taken.add(number)
        if floor > low:
            self._floors[key] = floor
            self._taken[key] = {n for n in taken if n >= floor}
        return True

    def forget(self, producer: str, epoch: int, number: int) -> None:
        """Take a batch back: it was released and may come again."""
        self._taken.get((producer, epoch), set()).discard(number)

    def __len__(self) -> int:
        return sum(len(taken) for taken in self._taken.values())
