"""Ray actors that hold a model from one pass of a run to the next, and Ray Data streaming rows through them.

An actor that is lost with its node is started again elsewhere, and what it was asked is asked once more. Unlike in Ray Data's own pools
the actors that are left do not take over its rows, so all of them must find room.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["IDLE_CPUS", "Ask", "KeptActors"]

Ask = Callable[[Any, dict[str, Any]], Awaitable[dict[str, Any]]]
"""What an actor makes of a batch of columns."""

# Between passes an actor computes nothing, so it books no core; a little keeps it off nodes without any.
IDLE_CPUS = 0.01
# How long actors may take to end what they started themselves, in seconds.
END_S = 30.0


class KeptActors:
    """Actors of one kind, until they are ended or others are asked for."""

    def __init__(self) -> None:
        self._kind: Any = None
        self._actors: list[Any] = []

    def are_up(self, kind: Any) -> bool:
        """Whether actors of this kind were started already."""
        return bool(self._actors) and kind == self._kind

    def start(
        self,
        kind: Any,
        actor: type,
        arguments: tuple[Any, ...],
        count: int,
        gpus: float,
        environment: Mapping[str, str],
    ) -> None:
        """Start actors, and end those of another kind; nothing happens where they are up.

        Args:
            kind: What they differ by from others, compared with ``==``.
            actor: Their class, which has a method ``end``.
            arguments: What each is built with.
            count: How many.
            gpus: GPUs of each.
            environment: Variables of their processes.
        """
        import ray

        if self.are_up(kind):
            return
        self.end()
        remote: Any = ray.remote(actor).options(
            num_cpus=IDLE_CPUS,
            num_gpus=gpus,
            runtime_env={"env_vars": dict(environment)},
            # They book next to nothing of a CPU, and would all be packed onto one node.
            scheduling_strategy="SPREAD",
            max_restarts=-1,
            max_task_retries=-1,
        )
        self._kind, self._actors = kind, [remote.remote(*arguments) for _ in range(count)]

    def through(self, rows: Sequence[Mapping[str, Any]], ask: Ask, batch_size: int, batches_at_once: int) -> "Dataset":
        """The rows as the actors answer them, not computed yet.

        Args:
            rows: In the order they are begun.
            ask: Sends a batch to an actor.
            batch_size: Rows that are sent together.
            batches_at_once: Batches that one actor has at a time.
        """
        import ray.data

        dataset = ray.data.from_items([dict(row) for row in rows], override_num_blocks=-(-len(rows) // batch_size))
        return dataset.map_batches(
            _Messenger,
            fn_constructor_args=(self._actors, ask),
            batch_size=batch_size,
            concurrency=1,
            max_concurrency=len(self._actors) * batches_at_once,
            num_cpus=1,
        )

    def tell(self, method: str, *arguments: Any) -> None:
        """Call a method of every actor without waiting; what it ends with is not asked for."""
        for actor in self._actors:
            getattr(actor, method).remote(*arguments)

    def end(self) -> None:
        """End the actors, if any are up, and give back what they hold."""
        import ray

        actors, self._actors, self._kind = self._actors, [], None
        if actors:
            ray.wait([actor.end.remote() for actor in actors], num_returns=len(actors), timeout=END_S)
        for actor in actors:
            ray.kill(actor)


class _Messenger:
    """Hands each batch to the actor that has fewest."""

    def __init__(self, actors: Sequence[Any], ask: Ask) -> None:
        self._actors, self._ask = actors, ask
        self._asked: Counter[int] = Counter()

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        number = min(range(len(self._actors)), key=self._asked.__getitem__)
        self._asked[number] += 1
        try:
            answered = await self._ask(self._actors[number], batch)
        finally:
            self._asked[number] -= 1
        yield answered
