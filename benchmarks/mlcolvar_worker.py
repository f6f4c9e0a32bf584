"""Trains mlcolvar's AutoEncoderCV one epoch for every line it is given; runs in mlcolvar's own environment.

python mlcolvar_worker.py DATA.pt WIDTHS BATCH      (WIDTHS as 30,40,40,3)
"""

import logging
import sys
import time
import warnings
from importlib.metadata import version

import lightning
import torch
from mlcolvar.cvs import AutoEncoderCV
from mlcolvar.data import DictDataset, DictModule


class OnRequest(lightning.Callback):
    """Waits for a line before each epoch and tells its CPU and wall seconds after it, and the FVE of held-out rows."""

    def __init__(self, held_out):
        self.held_out = held_out

    def on_train_epoch_start(self, trainer, module):
        if not sys.stdin.readline():
            raise SystemExit
        self.start = time.process_time(), time.perf_counter()

    def on_train_epoch_end(self, trainer, module):
        cpu, wall, fve = time.process_time() - self.start[0], time.perf_counter() - self.start[1], float("nan")
        if self.held_out is not None:
            with torch.no_grad():
                error = (module.encode_decode(self.held_out) - self.held_out).square().mean()
            fve = float(1 - error / self.held_out.square().mean())  # rows are given about the training mean
        print(cpu, wall, fve, flush=True)


def main(data: str, widths: str, batch: str) -> None:
    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    x, held_out = torch.load(data, weights_only=True)
    module = DictModule(DictDataset({"data": x}), lengths=[1.0], batch_size=int(batch))
    trainer = lightning.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[OnRequest(held_out)],
        limit_val_batches=0,
    )
    print("ready", version("mlcolvar"), flush=True)
    trainer.fit(AutoEncoderCV([int(width) for width in widths.split(",")]), module)


if __name__ == "__main__":
    main(*sys.argv[1:])
