"""Servers for tests, each a child process on loopback: PostgreSQL, an S3 store (moto's), and whatever answers at an address."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.soak.place import free_port

__all__ = ["KEYS", "Server", "free_port", "object_store", "postgres"]

OWNER = "postgres"  # PostgreSQL refuses to run as root
KEYS = {"AWS_ACCESS_KEY_ID": "whoever", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-store", "AWS_DEFAULT_REGION": "us-east-1"}


class Server:
    """A child process that answers at an address, ended with all it started."""

    def __init__(self, command: list[str], address: str, log: Path, **environment: str):
        self.log = open(log, "wb")  # noqa: SIM115
        environment = {**os.environ, **environment}
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment, start_new_session=True)
        for _ in range(240):
            try:
                if httpx.get(address, timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                assert self.process.poll() is None, log.read_text()
            time.sleep(0.5)
        self.end()
        pytest.fail(f"no answer from {address}: {log.read_text()[-2000:]}")

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


@contextmanager
def postgres() -> Iterator[Callable[[str], str]]:
    """An empty cluster for the time of the block: a function from the name of a new database to host, port and owner as part of a URL."""
    binaries = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None) or Path(shutil.which("initdb")).parent
    folder = Path("/tmp") / f"hae-postgres-{os.getpid()}"  # its owner must be able to walk there
    folder.mkdir()
    if os.getuid() == 0:
        shutil.chown(folder, OWNER, OWNER)
    port, data = free_port(), folder / "data"
    initdb = _as_owner(binaries / "initdb", "-D", data, "-U", "hae", "--auth=trust", "--no-sync")
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    control = [binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run(_as_owner(*control, "-o", options, "start"), check=True, capture_output=True, cwd=folder)

    def database(name: str) -> str:
        subprocess.run([binaries / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "hae", name], check=True)
        return f"hae@127.0.0.1:{port}/{name}"

    try:
        yield database
    finally:
        subprocess.run(_as_owner(*control, "-m", "immediate", "stop"), capture_output=True, cwd=folder)
        shutil.rmtree(folder)


def _as_owner(*command) -> list[str]:
    return [*(["setpriv", "--reuid", OWNER, "--regid", OWNER, "--clear-groups"] if os.getuid() == 0 else []), *map(str, command)]


@contextmanager
def object_store(folder: Path, *buckets: str) -> Iterator[str]:
    """An S3 store with these buckets, empty, for the time of the block: its address. It takes any key, `KEYS` among them."""
    import boto3

    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", address.rpartition(":")[2]]
    server = Server(command, f"{address}/moto-api/data.json", folder / "store.log")
    try:
        client = boto3.client("s3", endpoint_url=address, aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
                              aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"], region_name=KEYS["AWS_DEFAULT_REGION"])
        for bucket in buckets:
            client.create_bucket(Bucket=bucket)
        yield address
    finally:
        server.end()
