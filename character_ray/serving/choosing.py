"""The choice behind ``model: auto``: an encoder beside the ingress, off its event loop."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from character_ray.config import AutoConfig
from character_ray.encoder import Encoder
from character_ray.models import ENCODER, resolve_model
from character_ray.routing import Calibration, Choice, EncoderRouter, Profile, choose_for_turns, user_turns
from character_ray.serving.personas import Persona

__all__ = ["PersonaChooser", "asked_turns"]

# Ray Serve writes what goes to this logger into the replica's log file.
logger = logging.getLogger("ray.serve")

Encode = Callable[[Sequence[str]], np.ndarray]


class PersonaChooser:
    """Chooses a persona for a conversation; the same conversation among the same personas always gets the same.

    Args:
        config: Threshold, calibration, and the turns that may decide.
        load: Makes the encoder, in the chooser's own thread; the packaged one by default.
    """

    def __init__(self, config: AutoConfig, load: Callable[[], Encode] | None = None) -> None:
        self._config = config
        # One thread: the encoder is on the CPU, and a queue is fairer than threads that share its cores.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="chooser")
        self._encoder = self._thread.submit(load or _packaged)
        self._router: tuple[tuple[Persona, ...], EncoderRouter] | None = None

    async def choose(
        self, turns: Sequence[str], personas: tuple[Persona, ...], allowed: Callable[[str], bool]
    ) -> Choice:
        """The persona for a conversation.

        Args:
            turns: Texts of the user, in order.
            personas: All that are served; their vectors are made when they first appear.
            allowed: Whether the client may ask for a persona.
        """
        slugs = [persona.slug for persona in personas if allowed(persona.slug)]
        first = list(turns[: self._config.turns])
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._choose, first, personas, slugs)

    def _choose(self, turns: Sequence[str], personas: tuple[Persona, ...], slugs: Sequence[str]) -> Choice:
        if self._router is None or self._router[0] != personas:
            self._router = personas, self._build(personas)
        router = self._router[1]
        return choose_for_turns(lambda turn: router.choose(turn, slugs), turns)

    def _build(self, personas: tuple[Persona, ...]) -> EncoderRouter:
        profiles = [Profile(persona.slug, _texts(persona)) for persona in personas]
        calibration = Calibration(self._config.temperature, self._config.floor)
        return EncoderRouter(self._encoder.result(), profiles, calibration, self._config.threshold)


def asked_turns(text: Any) -> list[str]:
    """The user's texts in a request: its chat turns, or the prompts of a plain continuation."""
    if isinstance(text, str):
        return [text]
    if not isinstance(text, list):
        return []
    return [each for each in text if isinstance(each, str)] or user_turns(text)


def _texts(persona: Persona) -> tuple[str, ...]:
    manifest = persona.manifest
    if not manifest.about:
        logger.warning(
            "%s says little of itself, so auto seldom chooses it. Train it again to let it say more.", persona.pinned
        )
    return tuple(manifest.about) or tuple(filter(None, (manifest.persona, manifest.description)))


def _packaged() -> Encode:
    return Encoder(resolve_model(ENCODER))
