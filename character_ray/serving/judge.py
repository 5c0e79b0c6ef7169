"""The second model of a deployment: what it is, what it runs on, and how many of it there are."""

from character_ray.config import EngineConfig, ModelConfig, ServeConfig, ServedJudgeConfig
from character_ray.models import model_hash, resolve_model
from character_ray.serving.catalogue import SecondModel, base_id
from character_ray.serving.spread import settled

__all__ = ["engine_of_judge", "find_judge", "places_of_judge", "settings_of_judge", "with_judge"]


def with_judge(serve: ServeConfig, model: str | None) -> ServeConfig:
    """The settings with a judge that is named at the start, in place of the recipe's; on the engine that the recipe gives its own.

    Args:
        serve: The recipe's.
        model: A packaged name, a folder, or a hub id; none leaves the settings as they are.
    """
    if not model:
        return serve
    named = ModelConfig(name=model)
    judge = serve.judge.model_copy(update={"model": named}) if serve.judge else ServedJudgeConfig(model=named)
    return serve.model_copy(update={"judge": judge})


def find_judge(serve: ServeConfig) -> SecondModel | None:
    """The judge as clients know it, if there is one.

    Raises:
        ModelError: Its model cannot be found.
    """
    if serve.judge is None:
        return None
    return SecondModel(base_id(serve.judge.model), model_hash(resolve_model(serve.judge.model)))


def engine_of_judge(judge: ServedJudgeConfig, base: EngineConfig) -> EngineConfig:
    """What the judge runs on.

    Args:
        judge: Its section.
        base: What the base runs on, which decides where the section says nothing.
    """
    return judge.engine or base.model_copy(update={"vllm": {}, "lora_kernels": None})


def settings_of_judge(serve: ServeConfig, engine: EngineConfig) -> ServeConfig:
    """The deployment's settings with the judge's own numbers in place of the base's.

    Args:
        serve: Settings with a judge.
        engine: What the judge runs on.
    """
    assert serve.judge is not None
    own = {"min_replicas": serve.judge.min_replicas, "max_replicas": serve.judge.max_replicas, "target_requests": None}
    return settled(serve.model_copy(update=own), engine)


def places_of_judge(serve: ServeConfig, engine: EngineConfig) -> int:
    """Answers of the judge at an ingress at once: all that its replicas have places for, which it shares with nobody.

    Args:
        serve: What :func:`settings_of_judge` gives.
        engine: What the judge runs on.
    """
    return (engine.max_num_seqs + serve.max_queued_requests) * serve.max_replicas
