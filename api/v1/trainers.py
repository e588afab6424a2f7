"""Trainers: the programs that an operator has registered."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

from fastapi import APIRouter, Query

from api.access import Caller, Reader, Scope
from api.context import Configured, Stored
from api.problem_details import responses
from api.v1.queries import Limit
from orchestrator.answers.trainers import trainer_documents
from orchestrator.documents.document import Page
from orchestrator.documents.trainers import TrainerDocument
from orchestrator.errors import NotFound
from orchestrator.programs.registry import read_trainers
from orchestrator.settings import Settings
from orchestrator.store import Store

router = APIRouter(prefix="/v1/trainers", tags=["trainers"])


@router.get("", summary="List the registered trainers", responses=responses(422))
def list_trainers(
    store: Stored,
    settings: Configured,
    caller: Reader,
    limit: Limit = 100,
    cursor: Annotated[
        str | None, Query(max_length=300, description="`next_cursor` of the previous page.")
    ] = None,
) -> Page[TrainerDocument]:
    """List the programs that sweeps may name, by name, and the faulty registrations; read anew at each request."""
    documents = documents_for(caller, store, settings)
    after = [document for document in documents if cursor is None or document.name > cursor]
    more = len(after) > limit
    return Page(
        items=after[:limit], next_cursor=after[limit - 1].name if more else None, total=len(documents)
    )


@router.get("/{name}", summary="Show a registered trainer", responses=responses(404))
def show_trainer(name: str, store: Stored, settings: Configured, caller: Reader) -> TrainerDocument:
    """Show what a sweep may set of a program, and its newest check."""
    documents = {document.name: document for document in documents_for(caller, store, settings)}
    if name not in documents:
        near = get_close_matches(name, documents, n=1)
        known = f"the nearest is {near[0]}" if near else f"known are {', '.join(documents) or 'none'}"
        raise NotFound(f"No trainer {name[:100]!r} is registered; {known}.")
    return documents[name]


def documents_for(caller: Caller, store: Store, settings: Settings) -> list[TrainerDocument]:
    """The documents of all registrations, with whole faults for admins alone."""
    trainers = read_trainers(settings.trainers)
    return trainer_documents(store, trainers, whole_faults=caller.has(Scope.ADMIN))
