"""Training: all members at once, on the device, the best weights of each given back."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hae.errors import BadInput
from hae.network.objective import Objective
from hae.training.checkpoint import load_checkpoint, remove_checkpoint, save_checkpoint
from hae.training.gradients import Gradients
from hae.training.resident import ResidentStep
from hae.training.rows import Rows, epoch_generator, epoch_seed

if TYPE_CHECKING:
    from hae.training.stored import StoredRows

__all__ = ["History", "Settings", "train"]

EVALUATION_ROWS = 8192  # rows of a validation pass at a time: bounds its memory
CHECKPOINT_SECONDS = 1.0  # between two checkpoints: what a kill can cost
FEWEST_STEPS, SMALLEST_BATCH = 16, 32  # few rows are cut into smaller batches, or a training would be a handful of steps


@dataclass(frozen=True)
class Settings:
    """How to train.

    batch_size: rows a step, fewer where the rows would not fill `FEWEST_STEPS` batches. patience: epochs without a better validation
    loss before a member ends, counted after the peak of the one-cycle rate; None: no early stop. warmup: share of steps until the peak.
    """

    batch_size: int = 512
    max_epochs: int = 100
    patience: int | None = 20
    learning_rate: float = 5e-3
    warmup: float = 0.15
    weight_decay: float = 0.0


@dataclass
class History:
    """What training told: a plain row an epoch and member, with E_k of every level in the metric W."""

    rows: list[dict] = field(default_factory=list)
    best_epoch: list[int] = field(default_factory=list)
    best_loss: list[float] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)


def train(
    network: nn.Module,
    data: "Rows | StoredRows",
    validation: "Rows | StoredRows | None",
    objective: Objective,
    settings: Settings,
    seeds: Sequence[int],
    *,
    augment: Callable[[Rows, list[torch.Generator]], Rows] | None = None,
    checkpoint: Path | None = None,
    progress: str | None = None,
    on_epoch: Callable[[list[dict]], None] | None = None,
) -> History:
    """Train the members of a network in place; each ends with the weights of its best epoch.

    Args:
        network: ``network.standardised_levels(x)`` takes (M, B, D) and gives (M, n, B, D'); its parameters have the axis M in front.
        seeds: one a member: the order of its batches depends on nothing else, so a member trains in a stack as it would alone.
        augment: changes a batch before every step, given a generator for each member that depends on its seed and the step alone.
        checkpoint: a file; training resumes from it where it exists and removes it at the end.
        progress: title of a progress bar, None for none. on_epoch: called with the rows of every new epoch.

    Without validation rows the best epoch is the last. A member whose loss is not finite ends with its best weights so far.

    Raises:
        BadInput: no member had a finite loss in its first epoch.
    """
    run = _Run(network, data, validation, objective, settings, seeds, augment)
    try:
        return run.run(checkpoint, progress, on_epoch)
    except torch.cuda.OutOfMemoryError:
        size = run.batch_size // 2
        if size < SMALLEST_BATCH:
            raise
        tqdm.write(f"out of GPU memory at a batch of {run.batch_size} rows: training starts again with {size}", file=sys.stderr)
        network.load_state_dict(run.start)
    del run
    torch.cuda.empty_cache()
    return train(
        network,
        data,
        validation,
        objective,
        replace(settings, batch_size=size),
        seeds,
        augment=augment,
        checkpoint=checkpoint,
        progress=progress,
        on_epoch=on_epoch,
    )


class _Run:
    """One training: what changes while it goes on, and a step, an epoch and a validation pass over it."""

    def __init__(self, network, data, validation, objective, settings, seeds, augment):
        self.network, self.data, self.validation, self.settings = network, data, validation, settings
        self.seeds, self.augment = list(seeds), augment
        self.objective = objective.to(data.inputs)
        self.batch_size = min(settings.batch_size, max(SMALLEST_BATCH, len(data) // FEWEST_STEPS), len(data))
        self.steps = len(data) // self.batch_size  # what is left of an epoch is less than a batch, and another part each time
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.start = {name: value.clone() for name, value in network.state_dict().items()}
        self.rates = _one_cycle(settings, self.steps)
        device = data.inputs.device
        fast = Gradients.support(network)
        self.gradients = Gradients(network, self.objective, len(self.seeds), self.batch_size) if fast else None
        # Of one's own modules also what is not trained by steps, such as the running means of batch normalisation. Asked for only now:
        # Gradients moves the parameters into one tensor, and what state_dict gave before would be the old ones.
        self.kept = self.parameters if len(self.seeds) > 1 else list(network.state_dict().values())
        # The default networks on a GPU: their steps are so short that launching them would take longer than running them.
        on_gpu = device.type == "cuda" and isinstance(data, Rows) and augment is None and getattr(network, "spec", None) is not None
        rate = torch.tensor(settings.learning_rate, device=device) if on_gpu else settings.learning_rate
        self.optimiser = torch.optim.Adam(
            self.parameters if self.gradients is None else [self.gradients.flat],
            lr=rate,
            weight_decay=settings.weight_decay,
            fused=True,
            capturable=on_gpu,
        )
        shape = len(seeds), self.steps, self.batch_size
        self.resident = (
            ResidentStep(data, shape, self.rates, rate, self.optimiser, self.backward, network.n_levels, capture=True) if on_gpu else None
        )
        self.epoch, self.seconds = 0, 0.0
        members = len(self.seeds)
        self.best = [tensor.detach().clone() for tensor in self.kept]
        self.best_loss = torch.full((members,), math.inf, dtype=torch.float64)
        self.best_epoch = torch.zeros(members, dtype=torch.long)
        self.stopped = [""] * members
        self.rows: list[dict] = []

    def run(self, checkpoint, progress, on_epoch) -> History:
        state = None if checkpoint is None else load_checkpoint(checkpoint)
        if state is not None and state.get("batch_size") == self.batch_size:
            self.restore(state)
            if on_epoch is not None and self.rows:
                on_epoch(list(self.rows))
        saved = time.monotonic()
        with tqdm(
            total=self.settings.max_epochs,
            initial=self.epoch,
            desc=progress,
            disable=progress is None,
            unit="epoch",
            mininterval=0.5,
        ) as bar:
            while self.epoch < self.settings.max_epochs and not all(self.stopped):
                rows = self.train_epoch()
                bar.update()
                bar.set_postfix_str(self._progress_line(rows))
                if on_epoch is not None:
                    on_epoch(rows)
                if checkpoint is not None and time.monotonic() - saved >= CHECKPOINT_SECONDS:
                    save_checkpoint(checkpoint, self.state())
                    saved = time.monotonic()
        if not torch.isfinite(self.best_loss).any():
            raise BadInput(
                f"training: no member kept a finite loss ({self.stopped[0]}); "
                f"try a learning_rate below {self.settings.learning_rate:g} or look for huge values in the data"
            )
        with torch.no_grad():
            for tensor, best in zip(self.kept, self.best):
                tensor.copy_(best)
        if checkpoint is not None:
            remove_checkpoint(checkpoint)
        return History(self.rows, self.best_epoch.tolist(), self.best_loss.tolist(), self.stopped)

    def train_epoch(self) -> list[dict]:
        start = time.perf_counter()
        device = self.data.inputs.device
        noise = [epoch_generator(seed, -1 - self.epoch) for seed in self.seeds]
        total: Tensor | float = 0.0
        self.network.train()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(epoch_seed(self.seeds[0], self.epoch))  # for what draws by itself, such as dropout
            if self.resident is not None:
                order = self.data.order(self.seeds, self.epoch, self.batch_size)
                total = self.resident.epoch(order, self.epoch * self.steps)
            else:
                batches = self.data.batches(self.seeds, self.epoch, self.batch_size)
                for step, batch in enumerate(batches, self.epoch * self.steps):
                    total = total + self.step(batch if self.augment is None else self.augment(batch, noise), self.rates[step])
        trained = (total / self.steps).double().cpu()
        errors = trained if self.validation is None else self.errors(self.validation).cpu()
        rate = self.rates[min(self.epoch * self.steps + self.steps - 1, len(self.rates) - 1)]
        self.epoch += 1
        self._keep_best(trained, errors)
        self.seconds += time.perf_counter() - start
        rows = [
            {
                "member": m,
                "epoch": self.epoch,
                "seconds": round(self.seconds, 3),
                "learning_rate": rate,
                **{f"train_error_{k + 1}": e for k, e in enumerate(trained[m].tolist())},
                **({} if self.validation is None else {f"validation_error_{k + 1}": e for k, e in enumerate(errors[m].tolist())}),
            }
            for m in range(len(self.seeds))
            if not self.stopped[m] or self.stopped[m].startswith(f"epoch {self.epoch}:")
        ]
        self.rows += rows
        return rows

    def step(self, batch: Rows, rate: float) -> Tensor:
        """One step of Adam on the sum of the members' losses, which share no parameter; gives E_k of the batch, (M, n)."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        errors = self.backward(batch)
        self.optimiser.step()
        return errors

    def backward(self, batch: Rows) -> Tensor:
        """Gradients of the sum of the members' losses; gives E_k of the batch, (M, n). The second half is the reference."""
        if self.gradients is not None:
            return self.gradients(batch)
        self.optimiser.zero_grad(set_to_none=True)
        errors = self.objective.level_errors(self.network.standardised_levels(batch.inputs), batch.targets, batch.weights, batch.observed)
        loss = self.objective.loss(errors).sum()
        if self.objective.smooth:
            loss = loss + self.objective.smooth * self.network.steepness(batch.inputs).sum()
        loss.backward()
        return errors.detach()

    @torch.no_grad()
    def errors(self, rows: Rows) -> Tensor:
        """E_k of every member over all rows, (M, n)."""
        self.network.eval()
        total: Tensor | float = 0.0
        count = 0
        for part in rows.chunks(EVALUATION_ROWS):
            size = part.inputs.shape[1]
            levels = self.network.standardised_levels(part.inputs.expand(len(self.seeds), -1, -1))
            total = total + self.objective.level_errors(levels, part.targets, part.weights, part.observed).double() * size
            count += size
        return cast(Tensor, total / count)

    def _keep_best(self, trained: Tensor, errors: Tensor) -> None:
        """Keep the weights of members that are better than before, and end those that stopped improving or are not finite."""
        objective = replace(
            self.objective,
            level_weights=None if self.objective.level_weights is None else self.objective.level_weights.double().cpu(),
        )
        loss, running = objective.loss(errors), torch.tensor([not word for word in self.stopped])
        finite = torch.isfinite(loss) & torch.isfinite(trained).all(-1)
        better = finite & running & ((loss < self.best_loss) | (self.validation is None))
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best_epoch = torch.where(better, self.epoch, self.best_epoch)
        if better.any():
            on_device = better.to(self.data.inputs.device)
            for best, tensor in zip(self.best, self.kept):
                if len(self.seeds) > 1:
                    best.copy_(torch.where(on_device.view(-1, *(1,) * (best.ndim - 1)), tensor.detach(), best))
                else:
                    best.copy_(tensor.detach())
        patience, peak = self.settings.patience, math.ceil(self.settings.warmup * self.settings.max_epochs)
        for m in range(len(self.seeds)):
            if running[m] and not finite[m]:
                self.stopped[m] = f"epoch {self.epoch}: the loss is not finite"
                tqdm.write(f"member {m}: {self.stopped[m]}; it ends with the weights of epoch {int(self.best_epoch[m])}", file=sys.stderr)
            elif (
                running[m]
                and patience is not None
                and self.validation is not None
                and self.epoch - max(int(self.best_epoch[m]), peak) >= patience
            ):
                self.stopped[m] = f"epoch {self.epoch}: no better validation loss in {patience} epochs"

    def _progress_line(self, rows: list[dict]) -> str:
        if not rows:
            return ""
        name = "train" if self.validation is None else "validation"
        levels = sum(key.startswith("train_error_") for key in rows[0])
        best = [min(row[f"{name}_error_{k + 1}"] for row in rows) for k in range(levels)]
        shown = " ".join(f"{value:.4g}" for value in best[:6]) + (" ..." if levels > 6 else "")
        return f"{name} error by level {shown}"

    def state(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "batch_size": self.batch_size,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "best": self.best,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            "rows": self.rows,
        }

    def restore(self, state: dict) -> None:
        options = [{name: value for name, value in group.items() if name != "params"} for group in self.optimiser.param_groups]
        try:
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (KeyError, RuntimeError, ValueError):  # written by another version: only a saving of time
            self.network.load_state_dict(self.start)
            return
        for group, own in zip(self.optimiser.param_groups, options):
            group.update(own)  # those of the device here; on a GPU also the tensor of the rate that the steps there write to
        self.best = [best.to(tensor.device) for best, tensor in zip(state["best"], self.kept)]
        for name in ("epoch", "seconds", "best_loss", "best_epoch", "stopped", "rows"):
            setattr(self, name, state[name])


def _one_cycle(settings: Settings, steps: int) -> list[float]:
    """Learning rate of every step of torch's one-cycle schedule (Smith and Topin, Super-convergence, 2018)."""
    total = settings.max_epochs * steps
    if total < 3:
        return [settings.learning_rate] * total
    share = 1.5 / total if math.isclose(settings.warmup * total, 1) else settings.warmup  # for a rise of one step torch divides by 0
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=total, pct_start=share, cycle_momentum=False
    )
    rates = []
    for _ in range(total):
        rates.append(float(schedule.get_last_lr()[0]))
        optimiser.step()
        if len(rates) < total:
            schedule.step()
    return rates
