"""A Ray cluster of three raylets on this machine, a head without cores and two with one core each, as three machines would be."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Raylets", "raylets"]

SCRIPT = """
import json, sys
from ray.cluster_utils import Cluster
size = {"object_store_memory": 100 * 1024**2}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **size})
others = [cluster.add_node(num_cpus=1, **size) for _ in range(2)]
pids = [node.all_processes["raylet"][0].process.pid for node in others]
print(json.dumps({"address": cluster.address, "pids": pids}), flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@dataclass(frozen=True)
class Raylets:
    """address: what RAY_ADDRESS is to be; pids: of the two raylets with cores."""

    address: str
    pids: list[int]


@contextmanager
def raylets() -> Iterator[Raylets]:
    """In a process of its own: Ray reads its settings at import, and a cluster of ours asks for a token that this one does not know."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("{"))
        yield Raylets(**json.loads(line))
    finally:
        process.communicate(timeout=60)
