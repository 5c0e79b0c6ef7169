"""An application on Ray Serve for as long as it is wanted."""

import logging
import os
import re
import socket
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from character_ray.cluster_room import LOOK_EVERY_S, Need, RoomWatch, alive_nodes, nodes_may_join
from character_ray.config import ServeConfig
from character_ray.errors import ServingError
from character_ray.log import console
from character_ray.serving.room import check_room
from character_ray.serving.transport import use_transport

if TYPE_CHECKING:
    from ray.serve import Application

__all__ = ["check_port", "connected", "last_error", "metrics_address", "running"]

APPLICATION = "character-ray"


@contextmanager
def connected(needs: Sequence[Need]) -> Iterator[None]:
    """Ray for the length of the block: a running cluster (a job's own, or that of ``RAY_ADDRESS``), else a new one.

    Args:
        needs: The replicas that are always kept.

    Raises:
        ServingError: It has too few GPUs or CPU cores for them, and no autoscaler.
    """
    # Read when vLLM is first imported.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    use_transport()
    import ray
    import ray.serve

    was_running = ray.is_initialized()
    if not was_running:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if "RAY_ADDRESS" not in os.environ:
            # Without an address Ray would look for a cluster started on this machine, even one that has ended.
            options |= {"address": "local", "include_dashboard": False}
        ray.init(**options)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        if awaited := check_room(needs, alive_nodes(), nodes_may_join):
            console.print(f"[yellow]warning[/]: {awaited}")
        yield
    finally:
        if not was_running:
            ray.shutdown()


@contextmanager
def running(app: "Application", config: ServeConfig, watched: Sequence[RoomWatch]) -> Iterator[str]:
    """The application answering at the URL this yields; taken down at the end of the block.

    Args:
        app: The application.
        config: Where it listens.
        watched: Watches of the room for its replicas, as long as they are not there.

    Raises:
        ClusterError: Nodes that could hold the replicas did not join in time.
        ServingError: The cluster serves personas already, the engine did not start, or something else answers at the
            address.
    """
    from ray import serve

    # Ray Serve would put this application in the place of the one that runs.
    if APPLICATION in serve.status().applications:
        raise ServingError(
            f"this Ray cluster already runs an application named {APPLICATION}. Stop it first (Ctrl-C where it was started, "
            "or ray job stop), or use another cluster."
        )
    serve.start(http_options={"host": config.host, "port": config.port})
    try:
        # ``serve.run`` would wait for room without end.
        serve.run_many([serve.RunTarget(app, name=APPLICATION)], wait_for_applications_running=False)
        _wait_until_running(watched)
        url = f"http://{'127.0.0.1' if config.host == '0.0.0.0' else config.host}:{config.port}/v1"
        _check_answers(url)
        yield url
    finally:
        serve.delete(APPLICATION)


def metrics_address() -> str:
    """Where this node's metrics are, on a connected Ray; empty if nowhere."""
    import ray

    here = ray.util.get_node_ip_address()
    for node in ray.nodes():
        if node["Alive"] and node["NodeManagerAddress"] == here and node.get("MetricsExportPort"):
            return f"http://{here}:{node['MetricsExportPort']}/metrics"
    return ""


def check_port(config: ServeConfig) -> None:
    """Find out before an engine starts whether the port is free.

    Raises:
        ServingError: It is not, or the host is not an address of this machine.
    """
    with socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as cause:
            raise ServingError(
                f"cannot listen on {config.host}:{config.port}: {cause.strerror}. Choose another with --host or --port."
            ) from None


def _wait_until_running(watched: Sequence[RoomWatch]) -> None:
    """Return once the application's replicas are there and every proxy knows its routes."""
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ApplicationStatus

    while (state := serve.status().applications[APPLICATION]).status != ApplicationStatus.RUNNING:
        if state.status == ApplicationStatus.DEPLOY_FAILED:
            reasons = " ".join(each.message for each in state.deployments.values()) or state.message
            raise ServingError(
                f"the engine did not start: {last_error(reasons)} "
                "Change what it complains of; the whole story is in /tmp/ray/session_latest/logs/serve."
            )
        for watch in watched:
            watch.check()
        time.sleep(LOOK_EVERY_S)
    client = _get_global_client()
    assert client is not None  # Serve was started
    client.wait_for_proxies_serving()


def _check_answers(url: str) -> None:
    try:
        with urllib.request.urlopen(f"{url}/models", timeout=30):
            return
    except urllib.error.HTTPError as answer:
        if answer.code == 401:  # it asks for a key, so it is there
            return
        raise ServingError(f"{url}/models answers with status {answer.code}; something else listens there.") from answer
    except (urllib.error.URLError, TimeoutError) as cause:
        raise ServingError(
            f"{url} does not answer ({cause}). If Ray Serve already runs on this cluster at another address, use that "
            "one with --host and --port."
        ) from cause


def last_error(text: str) -> str:
    """The last exception in a text full of tracebacks, on one line."""
    message = re.split(r"\n(?=[\w.]+(?:Error|Exception): )", text)[-1]
    return textwrap.shorten(message, width=600, placeholder=" ...")
