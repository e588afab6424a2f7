"""The page at /docs: Swagger UI with the OpenAPI document, from files beside this module, so without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.routing import Mount

router = APIRouter(include_in_schema=False)

ASSETS: Final = Mount(
    "/docs/assets", StaticFiles(directory=Path(__file__).parent / "swagger_ui"), name="docs"
)

_PAGE: Final = """<!doctype html>
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

_START: Final = """SwaggerUIBundle({
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
    """The call that starts Swagger UI, in its own file: pages allow no inline scripts."""
    return Response(_START, media_type="text/javascript")
