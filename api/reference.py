"""The API's own description at /docs: Swagger UI out of a wheel, so that it needs no network."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.routing import Mount

router = APIRouter(include_in_schema=False)

ASSETS = Mount(
    "/docs/assets", StaticFiles(directory=str(files("fastapi_swagger") / "resources")), name="docs"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Etalon: the REST API</title>
<link rel="icon" href="docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
</head>
<body>
<div id="reference"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""


@router.get("/docs")
def page() -> HTMLResponse:
    """The page that draws the OpenAPI document."""
    return HTMLResponse(_PAGE)


@router.get("/docs/start.js")
def start() -> Response:
    """The call that starts Swagger UI, in a file of its own: the pages allow no inline script."""
    return Response(_START, media_type="text/javascript")
