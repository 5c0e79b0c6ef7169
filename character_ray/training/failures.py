"""What went wrong in a worker, in its own words."""

__all__ = ["root_cause"]


def root_cause(error: BaseException) -> str:
    """The innermost message: Ray wraps what a worker or its controller raised several times."""
    inner = getattr(error, "worker_failures", None)
    if inner:
        return root_cause(next(iter(inner.values())))
    cause = getattr(error, "controller_failure", None) or getattr(error, "cause", None) or error.__cause__
    return root_cause(cause) if isinstance(cause, BaseException) else f"{type(error).__name__}: {error}"
