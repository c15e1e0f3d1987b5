"""nginx, with a configuration of the documentation."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import find_tool, wait_for_port

__all__ = ["find_nginx", "nginx_file", "running_nginx"]

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def find_nginx() -> str:
    """Return the path of nginx, which Debian has where only root looks."""
    return find_tool("nginx", f"{os.environ['PATH']}:/usr/sbin")


def nginx_file(text: str, folder: Path) -> Path:
    """Write a whole configuration around what stands in its `http` block."""
    # Its processes would run as another user, who may not enter the folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in _TEMPORARY)
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off;\n{user}pid {folder}/pid;\nerror_log stderr;\n"
        "events { worker_connections 4096; }\n"
        f"http {{\naccess_log off;\n{temporary}{text}\n}}\n"
    )
    return file


@contextmanager
def running_nginx(file: Path, port: int) -> Iterator[None]:
    """Run nginx until the end of the block; it listens when the block begins."""
    with subprocess.Popen([find_nginx(), "-c", str(file)]) as process:
        try:
            wait_for_port(port, process)
            yield
        finally:
            process.terminate()
