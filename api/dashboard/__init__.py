"""The pages: sweeps, one sweep, one run, submitting and signing in; server-rendered, kept current by the event stream."""

from api.dashboard.pages import router

__all__ = ["router"]
