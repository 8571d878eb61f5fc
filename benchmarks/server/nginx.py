"""An nginx on loopback that says 200 and does nothing else: what a client reaches beside it is the client's own doing.

Its module echo (Debian: libnginx-mod-http-echo) lets it take its time.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which

CONFIGURATION = """
{module}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ default_type application/json; {answer} }}
    }}
}}
"""
AT_ONCE = "return 200 '{}';"
LATER = "echo_read_request_body; echo_sleep %s; echo '{}';"
MODULE = "load_module /usr/lib/nginx/modules/ngx_http_echo_module.so;"
STARTS_WITHIN_S = 10


@contextmanager
def answering(folder: Path, after_s: float = 0.0) -> Iterator[str]:
    """Yield the address; raises FileNotFoundError where nginx is not installed (Debian: nginx-light)."""
    program = which("nginx") or "/usr/sbin/nginx"
    port = _free_port()
    folder.mkdir()
    configuration = folder / "nginx.conf"
    how = {"answer": LATER % after_s, "module": MODULE} if after_s else {"answer": AT_ONCE, "module": ""}
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, **how))
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)]
    with subprocess.Popen(command) as process:  # noqa: S603
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port


def _wait_for(port: int) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise TimeoutError("nginx did not start")
