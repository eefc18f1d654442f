"""``/api/providers`` and ``/api/agents``: language models, and who they are. A slash in a name is written %2F."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response

from workerpool.api.http.guard import Operator, Stands, Viewer
from workerpool.api.http.models import agents as models
from workerpool.api.http.problems import documented
from workerpool.api.http.strict import StrictRoute
from workerpool.api.service import agents
from workerpool.api.service.refusals import NotValid
from workerpool.core.agent import Provider

router = APIRouter(prefix="/api", tags=["agents"], route_class=StrictRoute)
#: As it is decoded; encoded it may be longer.
NAME: dict[str, Any] = {"maxLength": 200, "pattern": r"^[^\x00]+$"}


def _name(name: Annotated[str, Path(min_length=1, json_schema_extra=NAME, description="Its name.")]) -> str:
    """Return a name, with its slashes."""
    found = unquote(name)
    if not 1 <= len(found) <= 200 or "\0" in found:
        raise NotValid("a name has 1 to 200 characters, without NUL")
    return found


Name = Annotated[str, Depends(_name)]


@router.get("/providers")
def providers(face: Stands, _who: Viewer) -> models.Providers:
    """Return where language models are reached; never a key."""
    with face.session() as session:
        found = agents.providers(session)
    return models.Providers(providers=[models.Provider.model_validate(row) for row in found])


@router.post("/providers", status_code=201, responses=documented(409, 422))
def add_provider(face: Stands, who: Operator, asked: models.ProviderIn) -> models.Provider:
    """Keep a provider."""
    with face.session() as session:
        return models.Provider.model_validate(agents.add_provider(session, Provider(**asked.model_dump()), who.name))


@router.get("/providers/{name}", responses=documented(404, 422))
def provider(name: Name, face: Stands, _who: Viewer) -> models.Provider:
    """Return a provider."""
    with face.session() as session:
        return models.Provider.model_validate(agents.provider(session, name))


@router.patch("/providers/{name}", responses=documented(404, 422))
def edit_provider(name: Name, face: Stands, who: Operator, asked: models.ProviderChange) -> models.Provider:
    """Change what is given of a provider."""
    with face.session() as session:
        row = agents.edit_provider(session, name, asked.model_dump(exclude_unset=True), who.name)
        return models.Provider.model_validate(row)


@router.delete("/providers/{name}", status_code=204, responses=documented(404, 409, 422))
def remove_provider(name: Name, face: Stands, who: Operator) -> Response:
    """Forget a provider, where no agent uses it."""
    with face.session() as session:
        agents.remove_provider(session, name, who.name)
    return Response(status_code=204)


@router.get("/agents")
def listing(face: Stands, _who: Viewer) -> models.Agents:
    """Return the agents."""
    with face.session() as session:
        found = agents.agents(session)
    return models.Agents(agents=[models.Agent.model_validate(row) for row in found])


@router.post("/agents", status_code=201, responses=documented(404, 409, 422))
def add_agent(face: Stands, who: Operator, asked: models.AgentIn) -> models.Agent:
    """Keep an agent; 404: there is no such provider."""
    given = {"tools": tuple(asked.tools), "model_parameters": asked.model_parameters.given()}
    new = agents.NewAgent(**asked.model_dump() | given)
    with face.session() as session:
        return models.Agent.model_validate(agents.add_agent(session, new, who.name))


@router.get("/agents/{name}", responses=documented(404, 422))
def agent(name: Name, face: Stands, _who: Viewer) -> models.Agent:
    """Return an agent."""
    with face.session() as session:
        return models.Agent.model_validate(agents.agent(session, name))


@router.patch("/agents/{name}", responses=documented(404, 422))
def edit_agent(name: Name, face: Stands, who: Operator, asked: models.AgentChange) -> models.Agent:
    """Change what is given of an agent, from its next attempt on."""
    with face.session() as session:
        changes = asked.model_dump(exclude_unset=True)
        if asked.model_parameters is not None:
            changes["model_parameters"] = asked.model_parameters.given()
        row = agents.edit_agent(session, name, changes, who.name)
        return models.Agent.model_validate(row)


@router.delete("/agents/{name}", status_code=204, responses=documented(404, 422))
def remove_agent(name: Name, face: Stands, who: Operator) -> Response:
    """Forget an agent; revisions that name it fail."""
    with face.session() as session:
        agents.remove_agent(session, name, who.name)
    return Response(status_code=204)
