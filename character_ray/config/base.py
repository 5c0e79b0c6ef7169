"""The base of every config: frozen, no unknown keys, the docstring under a field is its description."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Config", "WaitsForNodes"]


class Config(BaseModel):
    """Immutable settings; a misspelt key is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class WaitsForNodes(Config):
    """What runs on the nodes of a cluster, of which some may be lost."""

    wait_for_nodes_s: float = Field(900.0, ge=0)
    """How long to wait, in seconds, for nodes that could hold this while none are alive that can: a lost one may be replaced, an
    autoscaler adds some. Then the run ends and keeps what is finished. Nodes that are merely busy are waited for without end."""
