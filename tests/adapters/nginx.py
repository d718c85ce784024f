"""The conformance adapter of the Lua module inside nginx, over its cosockets; JSON lines in, out.

nginx reads at its start which authorities to trust, so another `ca_file` means another nginx. It
checks only names in a certificate, so 127.0.0.1 becomes localhost. The rest is adapter.lua.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

CONFIGURATION = """
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
daemon off;
master_process off;
pid nginx.pid;
error_log stderr emerg;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    client_max_body_size 64m;
    client_body_buffer_size 64m;
    lua_package_path '{root}/tests/adapters/?.lua;{root}/examples/?.lua;;';
    lua_package_cpath '{target}/lua/jit/?.so;;';
    lua_socket_log_errors off;
    lua_ssl_protocols TLSv1.2 TLSv1.3;
    lua_ssl_verify_depth 5;
    {trust}
    server {{
        listen unix:{folder}/nginx.sock;
        location / {{
            content_by_lua_block {{
                ngx.req.read_body()
                ngx.print(require("adapter")(ngx.req.get_body_data()))
            }}
        }}
    }}
}}
"""


def dies_with_its_parent() -> None:
    """Ends nginx with its parent, since the runner kills an adapter."""
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


class Nginx:
    """nginx in a folder of its own, which has one process."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="takings-nginx.")
        self.trusted: bytes | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def trust(self, authorities: bytes) -> None:
        if self.process is not None and authorities == self.trusted:
            return
        self.stop()
        self.trusted = authorities
        folder = Path(self.folder.name)
        (folder / "ca.pem").write_bytes(authorities)
        (folder / "nginx.sock").unlink(missing_ok=True)
        trust = "lua_ssl_trusted_certificate ca.pem;" if authorities else ""
        configuration = CONFIGURATION.format(root=ROOT, target=TARGET, folder=folder, trust=trust)
        (folder / "nginx.conf").write_text(configuration)
        # Debian's folder for nginx is not on every user's PATH
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
        command = [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            preexec_fn=dies_with_its_parent,
        )

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=120)

    def ask(self, line: bytes) -> bytes:
        path = str(Path(self.folder.name) / "nginx.sock")
        connection = http.client.HTTPConnection("nginx", timeout=100)
        deadline = time.monotonic() + 10
        while True:
            connection.sock = socket.socket(socket.AF_UNIX)
            try:
                connection.sock.connect(path)
                break
            except OSError:
                connection.sock.close()
                assert time.monotonic() < deadline, "nginx does not start"
                time.sleep(0.005)
        connection.request("POST", "/", line)
        answer = connection.getresponse().read()
        connection.close()
        return answer


def main() -> None:
    nginx = Nginx()
    try:
        for line in sys.stdin.buffer:
            task = json.loads(line)
            config = task.get("config")
            if config is not None:
                path = config.pop("ca_file", None)
                nginx.trust(Path(path).read_bytes() if path else b"")
                url = str(config.get("base_url", ""))
                config["base_url"] = url.replace("https://127.0.0.1", "https://localhost")
            sys.stdout.buffer.write(nginx.ask(json.dumps(task).encode()) + b"\n")
            sys.stdout.buffer.flush()
    finally:
        nginx.stop()
        nginx.folder.cleanup()


main()
