"""How many workers there are to be, for whoever asks over HTTP: KEDA's metrics-api scaler does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.errors import LeveretError


def desired_route(sources: Mapping[str, Callable[[], Awaitable[int]]]) -> Route:
    """``GET /v1/desired/{queue}`` answers ``{"queue": "images", "desired": 3}``.

    404 for a queue that nobody scales by this number; 503 while it is unknown, for unknown is not zero.

    Args:
        sources: By queue, a call that raises a LeveretError when it can't tell.
    """

    async def desired(request: Request) -> Response:
        queue = request.path_params["queue"]
        if queue not in sources:
            return JSONResponse({"detail": f"no Deployment is scaled for {queue}"}, HTTPStatus.NOT_FOUND)
        try:
            number = await sources[queue]()
        except LeveretError as error:
            return JSONResponse({"detail": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)
        return JSONResponse({"queue": queue, "desired": number})

    return Route("/v1/desired/{queue}", desired)
