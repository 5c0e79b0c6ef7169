"""Which persona suits a conversation: by sentence vectors, by keywords, and how often either is right."""

from character_ray.routing.keywords import KeywordRouter
from character_ray.routing.profiles import Profile, profile_texts
from character_ray.routing.router import Calibration, Choice, EncoderRouter
from character_ray.routing.turns import choose_for_turns, user_turns

__all__ = [
    "Calibration",
    "Choice",
    "EncoderRouter",
    "KeywordRouter",
    "Profile",
    "choose_for_turns",
    "profile_texts",
    "user_turns",
]
