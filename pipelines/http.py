"""hae serve --http: the champion's CVs over HTTP, of rows with named columns or of positions."""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException as AnyHTTPException

from hae.errors import BadInput
from hae.export.cv import PositionsToCVs, cv
from hae.export.reader import features
from hae.network.kinds import PERIODS
from pipelines.flow import server
from pipelines.record import packaging, registry
from pipelines.record.store import opened, plainly

__all__ = ["Champion", "Scorer", "application", "serve"]

HOST, LOOK, LARGEST = "127.0.0.1", 10.0, 64e6  # seconds between two looks at the registry; bytes of a request
ASKED = '{"rows": [{"NAME": number, ...}, ...]}, or {"atoms": ["NAME", ...], "positions": [[[x, y, z], ...], ...]} in nm'


@dataclass(frozen=True)
class Scorer:
    """A registered version that scores."""

    model: packaging.Loaded

    @cached_property
    def function(self) -> PositionsToCVs:
        return cv(self.model)

    def __call__(self, asked) -> dict:
        """The answer to a request. Raises ValueError in one line for what can't be scored."""
        if not isinstance(asked, dict) or set(asked) not in ({"rows"}, {"atoms", "positions"}):
            raise BadInput(f"request: {f'keys {sorted(asked)}' if isinstance(asked, dict) else 'no object'}; allowed: {ASKED}")
        cvs = self._of_rows(asked["rows"]) if "rows" in asked else self._of_positions(asked["atoms"], asked["positions"])
        about = self.model.about
        names = [f"cv{k + 1}" for k in range(len(about["cv"]))]
        periods = {name: PERIODS[kind] for name, kind in zip(names, about["cv"])}
        return {"version": self.model.version, "periods": periods, "cvs": [dict(zip(names, row)) for row in cvs.tolist()]}

    def _of_rows(self, rows) -> np.ndarray:
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise BadInput(f"rows: not a list of objects; allowed: {ASKED}")
        about = self.model.about
        ranges = list(zip(about["low"], about["high"]))
        s = features(pd.DataFrame(rows), None, {"features": about["features"], "units": about["units"], "feature_ranges": ranges})
        return self.model.encode(s)

    def _of_positions(self, atoms, positions) -> np.ndarray:
        wanted = self.function.atoms
        if not isinstance(atoms, list) or sorted(map(str, atoms)) != sorted(wanted):
            raise BadInput(f"atoms: not those of the model; allowed: {', '.join(wanted)}, each once, in the order of the positions")
        try:
            x = np.array(positions)
        except ValueError:
            raise BadInput("positions: of uneven lengths; allowed: three numbers for each atom of each frame, in nm") from None
        if x.dtype.kind not in "fiu" or x.ndim != 3 or x.shape[1:] != (len(wanted), 3) or not len(x):
            raise BadInput(f"positions: {x.dtype} of shape {x.shape}; allowed: numbers (frames, {len(wanted)}, 3) in nm")
        return self.function(x[:, [atoms.index(name) for name in wanted]])[0]


class Champion:
    """The champion of the moment. `look` loads another once it is promoted, its files checked; what can't be loaded changes nothing.

    Raises BadInput where there is no champion, or its files are not those that were registered; `look` too.
    """

    def __init__(self, project: Path):
        self.store = opened(project)
        self.scorer = Scorer(packaging.load(self.store, self._version()))
        self.wrong, self.looked = "", time.time()

    def look(self) -> None:
        version = self._version()
        if self.scorer.model.version != version:
            self.scorer = Scorer(packaging.load(self.store, version))
        self.wrong, self.looked = "", time.time()

    def _version(self) -> str:
        with plainly(self.store.uri):
            row = registry.champion(self.store)
        if row is None:
            raise BadInput(f"{self.store.name}: no champion; allowed: hae retrain or hae promote VERSION first")
        return row.version

    def keep_looking(self, every: float) -> None:
        while True:
            time.sleep(every)
            try:
                self.look()
            except Exception as error:  # of the registry of the day; the champion that is loaded goes on
                self.wrong = str(error).partition("\n")[0]
                logging.getLogger("uvicorn.error").warning("Look at the registry: %s", self.wrong)


def application(champion: Champion) -> FastAPI:
    """POST /cvs, GET /health and GET /metrics."""
    app = FastAPI(title="hae", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])  # pages of others can't ask by a name of their own
    kept = CollectorRegistry()
    requests = Counter("hae_requests", "Requests by path and status.", ["path", "status"], registry=kept)
    errors = Counter("hae_request_errors", "Requests that were refused or failed.", ["path"], registry=kept)
    seconds = Histogram("hae_request_seconds", "Time to the answer.", ["path"], registry=kept)
    version = Gauge("hae_champion_version", "The version that scores.", registry=kept)
    version.set_function(lambda: float(champion.scorer.model.version))

    @app.middleware("http")
    async def measured(request: Request, call_next):
        path = request.url.path if request.url.path in ("/cvs", "/health", "/metrics") else "other"
        start, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            seconds.labels(path).observe(time.perf_counter() - start)
            requests.labels(path, str(status)).inc()
            errors.labels(path).inc(int(status >= 400))

    @app.exception_handler(AnyHTTPException)
    async def refused(request: Request, error: AnyHTTPException):
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @app.post("/cvs")
    async def cvs(request: Request):
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                raise HTTPException(413, f"request: more than {LARGEST:.0f} bytes; allowed: fewer rows at a time")
        try:
            asked = json.loads(body)
        except ValueError:  # no JSON, no UTF-8
            raise HTTPException(400, f"request: not JSON; allowed: {ASKED}") from None
        try:
            return JSONResponse(await run_in_threadpool(champion.scorer, asked))
        except ValueError as error:
            raise HTTPException(422, str(error).partition("\n")[0]) from None

    @app.get("/health")
    def health():
        said: dict = {"status": "stale" if champion.wrong else "ok", "model": champion.store.name}
        said["champion"] = champion.scorer.model.version
        said["looked_seconds_ago"] = round(time.time() - champion.looked, 1)
        return said | ({"error": champion.wrong} if champion.wrong else {})

    @app.get("/metrics")
    def metrics():
        return Response(generate_latest(kept), media_type="text/plain; version=0.0.4")

    return app


def serve(project: Path, port: int, say=print, every: float = LOOK) -> None:
    """Score over HTTP on this machine alone until ended by Ctrl-C or SIGTERM. every: seconds between two looks at the registry.

    Raises BadInput for a port that is taken, no champion, a champion whose files are not those that were registered.
    """
    server.free(port)
    champion = Champion(project)
    threading.Thread(target=champion.keep_looking, args=(every,), name="champion", daemon=True).start()
    say(f"Scoring by {champion.store.name} version {champion.scorer.model.version} at http://{HOST}:{port}/cvs; /health, /metrics")
    with suppress(KeyboardInterrupt):
        uvicorn.run(application(champion), host=HOST, port=port, log_level="warning")
