"""What others do for the same training: plain PyTorch loops, and mlcolvar in an environment of its own."""

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

__all__ = ["DataLoaderLoop", "Mlcolvar", "SeparateLoop", "cpu_seconds"]

ENVIRONMENT = Path(__file__).parents[1] / ".hae" / "peers" / "mlcolvar"
WORKER = Path(__file__).with_name("mlcolvar_worker.py")


def perceptron(*widths: int) -> nn.Sequential:
    layers = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class Separate(nn.Module):
    """The collective network as most would write it: one module a decoder."""

    def __init__(self, d: int, hidden: tuple[int, ...], n: int):
        super().__init__()
        self.encoder = perceptron(d, *hidden, n)
        self.decoders = nn.ModuleList(perceptron(k + 1, *reversed(hidden), d) for k in range(n))

    def loss(self, s):
        cvs = self.encoder(s)
        return sum(((decoder(cvs[:, : k + 1]) - s) ** 2).mean() for k, decoder in enumerate(self.decoders)) / len(self.decoders)

    def levels(self, s):
        cvs = self.encoder(s)
        return torch.stack([decoder(cvs[:, : k + 1]) for k, decoder in enumerate(self.decoders)])


class SeparateLoop:
    """A plain loop over batches of data that are in memory, on the device."""

    def __init__(self, x: torch.Tensor, hidden, n: int, batch: int, rate: float = 1e-3):
        self.x, self.batch = x, batch
        self.network = Separate(x.shape[1], hidden, n).to(x.device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=rate)

    def batches(self):
        order = torch.randperm(len(self.x), device=self.x.device)
        return (self.x[rows] for rows in order.split(self.batch))

    def epoch(self) -> None:
        for s in self.batches():
            self.optimiser.zero_grad()
            self.network.loss(s).backward()
            self.optimiser.step()


class DataLoaderLoop(SeparateLoop):
    """The same, with torch's DataLoader, which picks and stacks the rows of a batch one by one."""

    def __init__(self, x, *rest):
        super().__init__(x, *rest)
        self.loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x.cpu()), batch_size=self.batch, shuffle=True)

    def batches(self):
        return (s.to(self.x.device) for (s,) in self.loader)


class Mlcolvar:
    """mlcolvar's AutoEncoderCV in a process of its own that trains an epoch when it is asked to, so that others can run in between.

    Raises RuntimeError where its environment can't be made.
    """

    def __init__(self, x: torch.Tensor, hidden, n: int, batch: int, file: Path, held_out: torch.Tensor | None = None):
        python = os.environ.get("HAE_MLCOLVAR_PYTHON") or self.install()
        torch.save([x.cpu().clone(), held_out], file)
        command = [python, str(WORKER), str(file), ",".join(map(str, (x.shape[1], *hidden, n))), str(batch)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        ready = self.process.stdout.readline().split()
        if ready[:1] != ["ready"]:
            raise RuntimeError("mlcolvar does not start here")
        self.version = ready[1]

    @staticmethod
    def install() -> str:
        python = ENVIRONMENT / "bin" / "python"
        wanted = [f"torch=={torch.__version__.split('+')[0]}", "mlcolvar", "lightning"]
        if not (ENVIRONMENT / "complete").exists():
            print("benchmarks: making an environment with mlcolvar, some minutes", file=sys.stderr)
            for command in ([sys.executable, "-m", "venv", str(ENVIRONMENT)], [str(python), "-m", "pip", "install", "-q", *wanted]):
                if subprocess.run(command, stdout=sys.stderr).returncode != 0:
                    raise RuntimeError("mlcolvar could not be installed")
            (ENVIRONMENT / "complete").touch()
        return str(python)

    def epoch(self) -> tuple[float, float, float]:
        """Trains an epoch: CPU seconds, wall seconds, and FVE of the held-out rows after it (NaN where there are none)."""
        self.process.stdin.write("epoch\n")
        self.process.stdin.flush()
        cpu, wall, fve = map(float, self.process.stdout.readline().split())
        return cpu, wall, fve

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def cpu_seconds(work) -> float:
    """CPU seconds of ``work()``, or what it says itself where it ran in another process."""
    start = time.process_time()
    told = work()
    return told[0] if isinstance(told, tuple) else time.process_time() - start
