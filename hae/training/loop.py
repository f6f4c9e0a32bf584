"""Training: all members at once, on the device, the best weights of each given back."""

import gc
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hae.errors import BadInput
from hae.network.objective import Objective
from hae.training.checkpoint import Checkpoint
from hae.training.rows import Rows, RowSource, epoch_generator, epoch_seed
from hae.training.schedule import SMALLEST_BATCH, Schedule, Settings
from hae.training.steps import STEPS, Trainable, fastest

__all__ = ["Training", "TrainingHistory", "train"]

EVALUATION_ROWS = 8192  # rows of a validation pass at a time: bounds its memory
CHECKPOINT_SECONDS = 1.0  # between two checkpoints, at least: what a kill can cost
CHECKPOINT_TIMES = 20  # so many times what writing one took, at least: checkpoints cost a training no more than a twentieth

Augment = Callable[[Rows, list[torch.Generator]], Rows]
OnEpoch = Callable[[list[dict]], None]


@dataclass
class TrainingHistory:
    """What training told.

    rows: one dictionary for each epoch and member, with the keys member, epoch, seconds, learning_rate, train_error_k and
    validation_error_k, which is E_k of level k in the metric W. best_epoch, best_loss, stopped: of each member; stopped says why it ended
    early, "" if it did not.

    Example:
        >>> history = TrainingHistory([{"member": 0, "epoch": 1, "train_error_1": 0.2}], best_epoch=[1], best_loss=[0.2], stopped=[""])
        >>> [row["train_error_1"] for row in history.rows if row["member"] == 0]
        [0.2]
    """

    rows: list[dict] = field(default_factory=list)
    best_epoch: list[int] = field(default_factory=list)
    best_loss: list[float] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)


def train(
    network: nn.Module,
    data: RowSource,
    validation: RowSource | None,
    objective: Objective,
    settings: Settings,
    seeds: Sequence[int],
    *,
    augment: Augment | None = None,
    checkpoint: Path | None = None,
    progress: str | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainingHistory:
    """Train the members of a network in place; each ends with the weights of its best epoch.

    Args:
        network: ``network.standardised_levels(x)`` takes (M, B, D) and gives (M, n, B, D'); its parameters have the axis M in front.
        data, validation: rows to train on, and rows that say which epoch is the best; without these it is the last.
        seeds: one for each member. The order of its batches depends on its seed alone, so a member trains in a stack as it would alone.
        augment: changes a batch before every step, given one generator for each member, which depends on its seed and the step alone.
        checkpoint: a file; training resumes from it where it exists and removes it at the end.
        progress: title of a progress bar, None for none. on_epoch: called with the rows of every new epoch.

    A member whose loss is not finite ends with its best weights so far. Out of GPU memory, training starts again with half the batch.

    Raises:
        BadInput: no member had a finite loss in its first epoch.
    """
    training = Training(network, data, validation, objective, settings, seeds, augment=augment)
    try:
        return training.run(checkpoint, progress, on_epoch)
    except torch.cuda.OutOfMemoryError:
        size = training.schedule.batch_size // 2
        if size < SMALLEST_BATCH:
            raise
        tqdm.write(f"out of GPU memory at a batch of {2 * size} rows: training starts again with {size}", file=sys.stderr)
        network.load_state_dict(training.start)
    del training
    gc.collect()  # whatever still refers to itself: the next training needs the room
    torch.cuda.empty_cache()
    settings = replace(settings, batch_size=size)
    options = {"augment": augment, "checkpoint": checkpoint, "progress": progress, "on_epoch": on_epoch}
    return train(network, data, validation, objective, settings, seeds, **options)  # type: ignore[arg-type]


class Training:
    """One training: what changes while it goes on, with `run` for all of it and `train_epoch` for an epoch and its validation.

    Args:
        network, data, validation, objective, settings, seeds, augment: see `train`.
        step: a name in `hae.training.steps.STEPS`; None: the fastest that can do it.

    Attributes:
        schedule: batches, epochs and rates. step: takes the steps. parameters: what is trained. start: the network's state before.
        epoch: epochs so far. rows: what was told of them, as in `TrainingHistory`.

    Example:
        >>> from hae.network.hierarchy import HierarchicalNetwork
        >>> x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
        >>> network = HierarchicalNetwork.mlp(3, ["linear"] * 2, hidden=(), activation="identity", members=1).reset(0, 0)
        >>> settings = Settings(batch_size=100, max_epochs=8, learning_rate=0.05)
        >>> training = Training(network, Rows(x, x), None, Objective(), settings, seeds=[0])
        >>> first, *_, last = [training.train_epoch()[0]["train_error_2"] for _ in range(8)]
        >>> last < first
        True
    """

    def __init__(
        self,
        network: nn.Module,
        data: RowSource,
        validation: RowSource | None,
        objective: Objective,
        settings: Settings,
        seeds: Sequence[int],
        *,
        augment: Augment | None = None,
        step: str | None = None,
    ):
        self.network, self.data, self.validation, self.settings, self.augment = network, data, validation, settings, augment
        self.objective = objective.to(data.inputs)
        self.schedule = Schedule.of(settings, len(data), seeds)
        self.seeds = self.schedule.seeds
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.start = {name: value.clone() for name, value in network.state_dict().items()}
        self.step = STEPS[step or fastest(network, data, augment is not None)](network, data, self.objective, self.schedule, settings)
        # Of one's own modules also what is not trained by steps, such as the running means of batch normalisation. Asked for only now:
        # a step may move the parameters into one tensor, and what state_dict gave before would be the old ones.
        self.kept = self.parameters if len(self.seeds) > 1 else list(network.state_dict().values())
        self.epoch, self.seconds = 0, 0.0
        members = len(self.seeds)
        self.best = [tensor.detach().clone() for tensor in self.kept]
        self.best_loss = torch.full((members,), math.inf, dtype=torch.float64)
        self.best_epoch = torch.zeros(members, dtype=torch.long)
        self.stopped = [""] * members
        self.rows: list[dict] = []

    def run(self, checkpoint: Path | None = None, progress: str | None = None, on_epoch: OnEpoch | None = None) -> TrainingHistory:
        """Train to the end, from the checkpoint where there is one, and leave the network with the best weights of each member."""
        kept = None if checkpoint is None else Checkpoint(checkpoint, CHECKPOINT_SECONDS, CHECKPOINT_TIMES)
        if kept is not None:
            self._resume(kept, on_epoch)
        epochs = self.schedule.epochs
        with tqdm(total=epochs, initial=self.epoch, desc=progress, disable=progress is None, unit="epoch", mininterval=0.5) as bar:
            while self.epoch < epochs and not all(self.stopped):
                rows = self.train_epoch()
                bar.update()
                bar.set_postfix_str(self._progress_line(rows))
                if on_epoch is not None:
                    on_epoch(rows)
                if kept is not None and kept.due():
                    kept.save(self.state())
        if not torch.isfinite(self.best_loss).any():
            raise BadInput(
                f"training: no member kept a finite loss ({self.stopped[0]}); "
                f"try a learning_rate below {self.settings.learning_rate:g} or look for huge values in the data"
            )
        with torch.no_grad():
            for tensor, best in zip(self.kept, self.best):
                tensor.copy_(best)
        if kept is not None:
            kept.remove()
        return TrainingHistory(self.rows, self.best_epoch.tolist(), self.best_loss.tolist(), self.stopped)

    def train_epoch(self) -> list[dict]:
        """The steps of an epoch and what validation says of it; gives one row for each member, see `TrainingHistory`."""
        start = time.perf_counter()
        device, steps = self.data.inputs.device, self.schedule.steps
        self.network.train()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(epoch_seed(self.seeds[0], self.epoch))  # for what draws by itself, such as dropout
            total = self.step.epoch(self.epoch, self._change())
        trained = (total / steps).double().cpu()
        errors = trained if self.validation is None else self.errors(self.validation).cpu()
        rate = self.schedule.rates[min(self.epoch * steps + steps - 1, len(self.schedule.rates) - 1)]
        self.epoch += 1
        self._keep_best(trained, errors)
        self.seconds += time.perf_counter() - start
        told = {"train": trained, **({} if self.validation is None else {"validation": errors})}
        rows = [
            {
                "member": m,
                "epoch": self.epoch,
                "seconds": round(self.seconds, 3),
                "learning_rate": rate,
                **{f"{side}_error_{k + 1}": e for side, of in told.items() for k, e in enumerate(of[m].tolist())},
            }
            for m, word in enumerate(self.stopped)
            if not word or word.startswith(f"epoch {self.epoch}:")
        ]
        self.rows += rows
        return rows

    def _change(self) -> Callable[[Rows], Rows] | None:
        """The augmentation with the random numbers of this epoch, one generator for each member."""
        augment = self.augment
        if augment is None:
            return None
        noise = [epoch_generator(seed, -1 - self.epoch) for seed in self.seeds]
        return lambda batch: augment(batch, noise)

    @torch.no_grad()
    def errors(self, rows: RowSource) -> Tensor:
        """E_k of every member over all rows, (M, n)."""
        self.network.eval()
        total: Tensor | float = 0.0
        count = 0
        for part in rows.chunks(EVALUATION_ROWS):
            size = part.inputs.shape[1]
            levels = cast(Trainable, self.network).standardised_levels(part.inputs.expand(len(self.seeds), -1, -1))
            total = total + self.objective.level_errors(levels, part.targets, part.weights, part.observed).double() * size
            count += size
        return cast(Tensor, total / count)

    def _keep_best(self, trained: Tensor, errors: Tensor) -> None:
        """Keep the weights of members that are better than before, and end those that stopped improving or are not finite."""
        weights = self.objective.level_weights
        objective = replace(self.objective, level_weights=None if weights is None else weights.double().cpu())
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
        for m in running.nonzero().flatten().tolist():
            if not finite[m]:
                self.stopped[m] = f"epoch {self.epoch}: the loss is not finite"
                tqdm.write(f"member {m}: {self.stopped[m]}; it ends with the weights of epoch {int(self.best_epoch[m])}", file=sys.stderr)
            elif self._out_of_patience(m):
                self.stopped[m] = f"epoch {self.epoch}: no better validation loss in {self.schedule.patience} epochs"

    def _out_of_patience(self, m: int) -> bool:
        patience = self.schedule.patience
        if patience is None or self.validation is None:
            return False
        return self.epoch - max(int(self.best_epoch[m]), self.schedule.peak) >= patience

    def _progress_line(self, rows: list[dict]) -> str:
        if not rows:
            return ""
        name = "train" if self.validation is None else "validation"
        levels = sum(key.startswith("train_error_") for key in rows[0])
        best = [min(row[f"{name}_error_{k + 1}"] for row in rows) for k in range(levels)]
        shown = " ".join(f"{value:.4g}" for value in best[:6]) + (" ..." if levels > 6 else "")
        return f"{name} error by level {shown}"

    def state(self) -> dict:
        """All that `restore` needs to go on: tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.step.optimiser.state_dict(),
            "batch_size": self.schedule.batch_size,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "best": self.best,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            "rows": self.rows,
        }

    def restore(self, state: dict) -> None:
        """Go on from a `state`; one that another version wrote changes nothing, since it is only a saving of time."""
        optimiser = self.step.optimiser
        options = [{name: value for name, value in group.items() if name != "params"} for group in optimiser.param_groups]
        try:
            self.network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
        except (KeyError, RuntimeError, ValueError):
            self.network.load_state_dict(self.start)
            return
        for group, own in zip(optimiser.param_groups, options):
            group.update(own)  # those of the device here; on a GPU also the tensor of the rate that the steps there write to
        self.best = [best.to(tensor.device) for best, tensor in zip(state["best"], self.kept)]
        for name in ("epoch", "seconds", "best_loss", "best_epoch", "stopped", "rows"):
            setattr(self, name, state[name])

    def _resume(self, checkpoint: Checkpoint, on_epoch: OnEpoch | None) -> None:
        state = checkpoint.load()
        if state is None or state.get("batch_size") != self.schedule.batch_size:
            return
        self.restore(state)
        if on_epoch is not None and self.rows:
            on_epoch(list(self.rows))
