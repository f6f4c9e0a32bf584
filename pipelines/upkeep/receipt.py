"""What was kept of the making of a version: its receipt, as it was written."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hae.errors import BadInput
from pipelines.record import registry
from pipelines.record.lineage import StageFacts
from pipelines.record.registry import VersionRow
from pipelines.record.store import Store

__all__ = ["Receipt", "read"]


@dataclass(frozen=True)
class Receipt:
    """What was kept of the making of a version. said: receipt.json; patch: of uncommitted code; params: the text of params.yaml."""

    version: VersionRow
    said: dict
    patch: str
    params: str
    tags: dict

    @property
    def facts(self) -> StageFacts:
        return StageFacts(self.said["command"], self.said["dependencies"], self.said["params"])

    @property
    def stage(self) -> str:
        return f"train@{self.version.variant}"


def read(store: Store, which: str) -> Receipt:
    """The receipt of a version, by its number or an alias.

    Raises:
        BadInput: no such version, or its receipt is gone.
    """
    row = registry.named(store, which)
    tags = store.client.get_model_version(store.name, row.version).tags
    with tempfile.TemporaryDirectory() as temporary:
        try:
            folder = Path(store.client.download_artifacts(row.run_id, "receipt", temporary))
            said = json.loads((folder / "receipt.json").read_text(encoding="utf-8"))
        except Exception as error:  # of any store: gone, or no run
            raise BadInput(f"{store.name} version {row.version}: its receipt can't be read ({type(error).__name__}); allowed: a version "
                           "whose run is there") from None
        patch, params = (path.read_text(encoding="utf-8") if (path := folder / name).exists() else ""
                         for name in ("uncommitted.patch", "params.yaml"))
    return Receipt(row, said, patch, params, dict(tags))
