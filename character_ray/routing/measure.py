"""How often a router is right, on requests whose templates its calibration never saw."""

from collections.abc import Callable, Sequence
from typing import Any

from character_ray.constitution import Constitution
from character_ray.routing.keywords import KeywordRouter
from character_ray.routing.profiles import Profile, profile_texts
from character_ray.routing.requests import NOBODY, RoutedRequest, routed_requests
from character_ray.routing.router import Calibration, Choice, Encode, EncoderRouter, fit_calibration
from character_ray.statistics import cluster_rate

__all__ = ["measure_routing"]


def measure_routing(
    constitutions: Sequence[Constitution], encode: Encode, *, threshold: float, per_template: int, seed: int
) -> dict[str, Any]:
    """Calibrate the encoder's router, then ask it and the keyword baseline the held-out requests.

    Args:
        constitutions: At least two personas with distinct names.
        encode: Turns texts into unit vectors.
        threshold: Least probability of a persona that is chosen.
        per_template: Most fillings of one template for one persona.
        seed: Seed of the requests.

    Returns:
        ``classes``; ``calibration``; by router its rates with Wilson's interval: ``accuracy_generated`` and
        ``accuracy_written`` (an abstention is wrong), ``decided`` (share of requests that suit a persona for which one was chosen),
        ``accuracy_decided``, ``abstained_off_topic``; and ``confusion``, rows true, columns chosen, both in the order of ``classes``.

    Raises:
        ValueError: There are fewer than two personas, or two of one name.
    """
    profiles = [Profile(each.slug, profile_texts(each)) for each in constitutions]
    slugs = [profile.slug for profile in profiles]
    if len(slugs) < 2 or len(set(slugs)) < len(slugs):
        raise ValueError(
            f"routing is measured between two or more personas of different names; these are {', '.join(slugs)}"
        )
    fitted_on = routed_requests(constitutions, "calibrate", per_template, seed)
    uncalibrated = EncoderRouter(encode, profiles, Calibration(1.0, 0.0), threshold)
    labels = [-1 if request.slug == NOBODY else slugs.index(request.slug) for request in fitted_on]
    calibration = fit_calibration(uncalibrated.similarities([request.text for request in fitted_on]), labels)
    asked = routed_requests(constitutions, "test", per_template, seed)
    routers: dict[str, Callable[[str], Choice]] = {
        "encoder": EncoderRouter(encode, profiles, calibration, threshold).choose,
        "keywords": KeywordRouter(profiles).choose,
    }
    return {
        "classes": [NOBODY, *slugs],
        "num_calibrate": len(fitted_on),
        "num_test": len(asked),
        "threshold": threshold,
        "seed": seed,
        "calibration": vars(calibration),
        "routers": {name: _rates(asked, choose, [NOBODY, *slugs], seed) for name, choose in routers.items()},
    }


def _rates(
    asked: Sequence[RoutedRequest], choose: Callable[[str], Choice], classes: Sequence[str], seed: int
) -> dict[str, Any]:
    chosen = [choose(request.text).slug or NOBODY for request in asked]
    confusion = [[0] * len(classes) for _ in classes]
    for request, slug in zip(asked, chosen, strict=True):
        confusion[classes.index(request.slug)][classes.index(slug)] += 1

    def rate(values: Sequence[bool]) -> dict[str, Any] | None:
        # One observation for each cluster: Wilson's interval.
        places = [str(place) for place in range(len(values))]
        return vars(cluster_rate([float(value) for value in values], places, seed=seed)) if values else None

    suited = [(request, slug) for request, slug in zip(asked, chosen, strict=True) if request.slug != NOBODY]
    return {
        **{
            f"accuracy_{group}": rate([slug == request.slug for request, slug in suited if request.group == group])
            for group in ("generated", "written")
        },
        "decided": rate([slug != NOBODY for _, slug in suited]),
        "accuracy_decided": rate([slug == request.slug for request, slug in suited if slug != NOBODY]),
        "abstained_off_topic": rate(
            [slug == NOBODY for request, slug in zip(asked, chosen, strict=True) if request.slug == NOBODY]
        ),
        "confusion": confusion,
    }
