"""One at a time among machines that share a registry: what is looked at and moved under a claim is one step.

MLflow has no transaction over several requests, but it never makes two registered models of one name. A model without versions is the
claim; who holds it makes it and removes it.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipelines.record.store import Store

__all__ = ["claimed", "made"]

SECONDS = 120.0  # that others wait for a holder, who has a few requests to make; after that it counts as dead
PAUSE = 0.2


@contextmanager
def claimed(store: Store) -> Iterator[None]:
    """Hold the registry for the time of the block. A sqlite file that is a checkout's own needs none: its lock is held already."""
    if store.own_database is not None:
        yield
        return
    from mlflow.exceptions import MlflowException

    name = f"{store.name}.moving"
    words = f"{socket.gethostname()} {os.getpid()} moves an alias of {store.name}; it is gone in a moment"
    seen, since = None, time.monotonic()
    while not made(store, name, words):
        born = _born(store, name)
        if born != seen:
            seen, since = born, time.monotonic()  # another holder; the clocks of other machines are not asked
        elif born is not None and time.monotonic() - since > SECONDS:
            with suppress(MlflowException):
                store.client.delete_registered_model(name)
        time.sleep(PAUSE)
    try:
        yield
    finally:
        with suppress(MlflowException):
            store.client.delete_registered_model(name)


def made(store: Store, name: str, words: str | None = None) -> bool:
    """Make a registered model of this name, described by these words; False where there is one, which another machine may have made just
    now."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name, description=words)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def _born(store: Store, name: str) -> int | None:
    """When the present claim was made, by the registry's clock; None where there is none by now."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        return store.client.get_registered_model(name).creation_timestamp
    return None
