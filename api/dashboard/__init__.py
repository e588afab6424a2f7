"""The pages: sweeps, one sweep, one run, submitting and logging in; server-rendered, live through the event stream."""

from api.dashboard.pages import router

__all__ = ["router"]
