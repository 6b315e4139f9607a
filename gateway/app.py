"""The application: routes over services that are already open. Built inside them, never at import."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

from gateway.middleware import BodyLimit, Edge
from gateway.openapi import describe
from gateway.problems import Problems
from gateway.routes import (
    audit,
    bulk,
    cost,
    dashboard,
    docs,
    failures,
    history,
    jobs,
    keys,
    lists,
    live,
    many,
    models,
    operations,
    outputs,
    overview,
    session,
    statistics,
    streams,
)
from gateway.services import Services

_ROOMS = (
    lists,
    failures,
    bulk,
    statistics,
    jobs,
    keys,
    streams,
    many,
    live,
    outputs,
    models,
    operations,
    cost,
    overview,
    history,
    audit,
    session,
    dashboard,
    docs,
)
VERSION = "1"
_DESCRIPTION = """
Deep-learning algorithms as an asynchronous service: submit a job, follow it, read its outputs.
Every error is `application/problem+json` with a stable `code`.
"""


def create_app(services: Services) -> ASGIApp:
    """The whole of the public port."""
    problems = Problems(services.settings.base_url)
    app = create_api(services, problems)
    return Edge(BodyLimit(app, services.settings.max_body_bytes), problems, services.tracing)


def create_api(services: Services, problems: Problems) -> FastAPI:
    """The routes, without what every request passes first."""
    app = FastAPI(
        title="Leveret",
        version=VERSION,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        # Its own would tell of every request, and export stack traces with what callers sent.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.services = services
    problems.install(app)
    routers = [room.router for room in _ROOMS]
    app.state.routers = routers
    for router in routers:
        app.include_router(router)
    describe(app, routers)
    return app
