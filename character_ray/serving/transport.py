"""How the processes of Ray Serve speak to each other.

Every piece of a stream crosses from the engine's replica to the ingress, and from there to the proxy. By gRPC, and on one event loop a
process, a piece costs less CPU time than as a call of an actor, which Ray Serve does where nothing else is said.
"""

import os

__all__ = ["TRANSPORT", "use_transport"]

TRANSPORT = {
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}
"""Environment of replicas and proxies; Ray reads it when it is first imported."""


def use_transport() -> None:
    """Let a Ray that this process starts hand the settings to all its processes; what the user set stays."""
    for name, value in TRANSPORT.items():
        os.environ.setdefault(name, value)
