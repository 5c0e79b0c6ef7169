"""The catalogue of one ingress, which follows the registry while requests are answered."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from character_ray.serving.catalogue import Catalogue
from character_ray.serving.metrics import IngressMetrics
from character_ray.serving.personas import Persona
from character_ray.serving.source import PersonaSource

__all__ = ["FollowedCatalogue"]

# Ray Serve writes what goes to this logger into the replica's log file.
logger = logging.getLogger("ray.serve")

_LOAD_LIMIT_S = 300

Warm = Callable[[str], Awaitable[None]]
"""Lets the engine of this name load; raises what keeps it from it."""


class FollowedCatalogue:
    """What is served now.

    Args:
        catalogue: What is served at first.
        source: Reads the registry.
        warm: Loads a persona into an engine and has its canary checked.
        metrics: Counts versions taken up and refused.
    """

    def __init__(self, catalogue: Catalogue, source: PersonaSource, warm: Warm, metrics: IngressMetrics) -> None:
        self.now = catalogue
        self._source, self._warm, self._metrics = source, warm, metrics
        self._told: dict[str, str] = {}
        first = source.serve.prewarm
        slugs = [persona.slug for persona in catalogue.personas]
        self.to_load = [slug for slug in slugs if slug in first] if first is not None else slugs[: source.resident]
        """Personas that are to be loaded before anybody asks, and were not tried yet."""

    @classmethod
    async def open(
        cls, catalogue: Catalogue, source: PersonaSource, warm: Warm, metrics: IngressMetrics
    ) -> "FollowedCatalogue":
        """Begin with what the registry says by now: ``catalogue`` is of the day the application was built."""
        current, _ = await asyncio.to_thread(source.read, catalogue)
        return cls(current, source, warm, metrics)

    async def load(self) -> None:
        """Load what is to be loaded before anybody asks, one after another; what fails or hangs is loaded when it is asked for."""
        while self.to_load:
            for persona in self.now.personas:  # as the registry says by now
                if persona.slug == self.to_load[0]:
                    try:
                        await asyncio.wait_for(self._fit(persona), _LOAD_LIMIT_S)
                    except TimeoutError:
                        logger.error("%s did not load within %g s", persona.pinned, _LOAD_LIMIT_S)
            del self.to_load[0]

    async def follow(self) -> None:
        """Take up what the registry says, again and again."""
        while self._source.registry is not None:
            await asyncio.sleep(self._source.serve.registry_poll_s)
            try:
                await self._take_up()
            except Exception:
                # The registry's storage, or the engine, may be back at the next look.
                logger.exception("the registry could not be followed")

    async def _take_up(self) -> None:
        wanted, problems = await asyncio.to_thread(self._source.read, self.now)
        held = {persona.slug: persona for persona in self.now.personas}
        personas: list[Persona] = []
        for persona in wanted.personas:
            old = held.get(persona.slug)
            if persona == old or await self._fit(persona):
                personas.append(persona)
                if persona != old:
                    self._metrics.swaps.inc(tags={"persona": persona.slug})
                    logger.info("%s is now served as %s", persona.slug, persona.pinned)
                continue
            problems[persona.slug] = f"{persona.pinned} is not fit to serve"
            if old is not None:
                personas.append(old)
        for slug, problem in problems.items():
            if self._told.get(slug) != problem:
                self._metrics.refused_versions.inc(tags={"persona": slug or "unknown"})
                logger.error("the registry's version is not served: %s: %s", slug, problem)
        self._told = problems
        # One assignment: a request sees the catalogue before it or after it.
        self.now = replace(wanted, personas=tuple(personas))

    async def _fit(self, persona: Persona) -> bool:
        """Whether an engine loads the persona and it answers as when it was published."""
        try:
            await self._warm(self.now.engine_id(persona))
        except Exception as error:
            logger.error("%s does not load: %s", persona.pinned, getattr(error, "cause", error))
            return False
        return True
