"""A server that a benchmark measures is asked when it is ready, and ends with the benchmark, however that ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.servers import free_port, served

SERVER = """
import http.server, sys
class Models(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Models.asked += self.path == "/ready"
        self.send_response(503 if self.path == "/ready" and Models.asked < 3 else 200); self.end_headers(); self.wfile.write(b"{}")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Models).serve_forever()
"""
MEASURED = """
import sys, time
from pathlib import Path
from benchmarks.servers import free_port, served
port = free_port()
with served([sys.executable, sys.argv[1], str(port)], port, Path(sys.argv[2]), 60) as url:
    print(url, flush=True)
    time.sleep(60)
"""


def test_what_is_not_ready_is_waited_for(tmp_path: Path):
    (tmp_path / "server.py").write_text(SERVER)
    port = free_port()
    command = [sys.executable, str(tmp_path / "server.py"), str(port)]
    with served(command, port, tmp_path / "log.txt", 60, ready="/ready") as url:
        assert url == f"http://127.0.0.1:{port}/v1"
    assert (tmp_path / "log.txt").read_text().count("GET /ready") == 3


@pytest.mark.timeout(120)
def test_the_server_ends_when_the_benchmark_is_asked_to(tmp_path: Path):
    (tmp_path / "server.py").write_text(SERVER)
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "server.py"), str(tmp_path / "log.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as benchmark:
        assert benchmark.stdout is not None
        assert benchmark.stdout.readline().startswith("http://127.0.0.1:")
        (server,) = psutil.Process(benchmark.pid).children()
        benchmark.send_signal(signal.SIGTERM)
        assert benchmark.wait(60) == 128 + signal.SIGTERM
    deadline = time.monotonic() + 30
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
