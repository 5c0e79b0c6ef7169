"""CPU time of a server's processes other than its engine's: what a streamed token costs on its way out."""

import psutil

__all__ = ["front_cpu_s"]

# In the titles of processes in which vLLM schedules and computes; the second is that of its executor on Ray.
ENGINE = ("VLLM::", "RayWorker")


def front_cpu_s() -> float:
    """CPU seconds so far of all living processes below this one but engines."""
    spent = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            title, times = " ".join(process.cmdline()), process.cpu_times()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if not any(name in title for name in ENGINE):
            spent += times.user + times.system
    return spent
