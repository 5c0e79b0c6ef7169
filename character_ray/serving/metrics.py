"""What Prometheus is told of a deployment, by persona. Ray's agent on every node exports it, each name with ``ray_`` before it.

Labels come from the catalogue, never from what a client wrote, so that nobody can make their number grow.
"""

from ray.util.metrics import Counter, Gauge, Histogram

from character_ray.serving.usage import Tokens

__all__ = ["DriftMetrics", "EngineMetrics", "IngressMetrics"]

_SECONDS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120]


class IngressMetrics:
    """Counted where requests come in."""

    def __init__(self) -> None:
        self.requests = Counter(
            "character_ray_requests", "Requests answered, by HTTP status.", tag_keys=("persona", "status")
        )
        self.refusals = Counter(
            "character_ray_refusals", "Requests refused, by the limit they met.", tag_keys=("persona", "reason")
        )
        self.first_token_s = Histogram(
            "character_ray_first_token_seconds",
            "From a streaming request to its first piece.",
            boundaries=_SECONDS,
            tag_keys=("persona",),
        )
        self.duration_s = Histogram(
            "character_ray_request_seconds",
            "From a request to the end of its answer.",
            boundaries=_SECONDS,
            tag_keys=("persona",),
        )
        self.tokens = Counter(
            "character_ray_completion_tokens",
            "Tokens written; pieces where an answer is streamed without usage.",
            tag_keys=("persona",),
        )
        self.read = Counter("character_ray_prompt_tokens", "Tokens of prompts answered.", tag_keys=("persona",))
        self.cached = Counter(
            "character_ray_cached_prompt_tokens",
            "Tokens of prompts that the engine found in its prefix cache.",
            tag_keys=("persona",),
        )
        self.ongoing = Gauge("character_ray_ongoing_requests", "Requests under way.", tag_keys=("persona",))
        self.retries = Counter(
            "character_ray_replica_retries", "Requests asked again because a replica died.", tag_keys=("persona",)
        )
        self.choices = Counter(
            "character_ray_auto_choices",
            "Requests for auto by the persona chosen; none where the base answers because no persona was likely enough.",
            tag_keys=("persona",),
        )
        self.choice_s = Histogram(
            "character_ray_auto_choice_seconds",
            "From a request for auto to the choice of its persona.",
            boundaries=_SECONDS,
        )
        self.swaps = Counter(
            "character_ray_version_swaps", "Times another version became the served one.", tag_keys=("persona",)
        )
        self.refused_versions = Counter(
            "character_ray_refused_versions",
            "Live versions of the registry found unfit to serve.",
            tag_keys=("persona",),
        )

    def count(self, persona: str, tokens: Tokens) -> None:
        """Add the tokens of a request."""
        for counter, number in (
            (self.tokens, tokens.written),
            (self.read, tokens.read),
            (self.cached, tokens.cached),
        ):
            if number:  # Ray refuses to count nothing
                counter.inc(number, tags={"persona": persona})


class DriftMetrics:
    """Counted where live answers are scored."""

    def __init__(self) -> None:
        self.answers = Counter(
            "character_ray_sampled_answers",
            "Live answers taken for scoring, by verdict: in_character, out_of_character, not_scored (the engine could not), let_go (too "
            "many waited).",
            tag_keys=("persona", "verdict"),
        )
        self.published_rate = Gauge(
            "character_ray_published_persona_rate",
            "Share of answers in character when the persona's run measured it, 0 to 1.",
            tag_keys=("persona",),
        )


class EngineMetrics:
    """Counted where adapters are loaded."""

    def __init__(self) -> None:
        self.loads = Counter("character_ray_adapter_loads", "Adapters loaded into an engine.", tag_keys=("persona",))
        self.canary_failures = Counter(
            "character_ray_canary_failures", "Adapters that did not answer as when published.", tag_keys=("persona",)
        )
