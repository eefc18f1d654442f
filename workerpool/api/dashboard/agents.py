"""The pages of agents and providers, and what people press there.

Does not own: what is refused (``service.agents``). Invariant: no page shows a key, or whether one is there: that is the
workers' hosts' to know.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from workerpool.api.dashboard import view
from workerpool.api.dashboard.pages import Known
from workerpool.api.face import Face
from workerpool.api.http.agents import Name
from workerpool.api.http.guard import Operator, Stands, Viewer, subject_of
from workerpool.api.service import agents
from workerpool.api.service.agent_rules import PROVIDER
from workerpool.api.service.refusals import NotValid
from workerpool.core.agent import SUPPORTED, Provider, wrong_with

router = APIRouter(include_in_schema=False)
Short = Annotated[str, Form(max_length=1_000)]
Long = Annotated[str, Form(max_length=100_000)]


@router.get("/agents", dependencies=[Known])
def overview(request: Request, face: Stands) -> Response:
    """All agents and providers."""
    return _page(request, face, "agents.html", **_all(face))


@router.get("/agents/{name}", dependencies=[Known])
def agent(request: Request, name: Name, face: Stands) -> Response:
    """One agent."""
    with face.session() as session:
        row = agents.agent(session, name)
        problem = agents.missing(agents.brief(session, name))
    return _page(request, face, "agent.html", kind="agent", row=row, problem=problem, used_by=(), **_all(face))


@router.get("/providers/{name}", dependencies=[Known])
def provider(request: Request, name: Name, face: Stands) -> Response:
    """One provider."""
    with face.session() as session:
        row = agents.provider(session, name)
    known = _all(face)
    used_by = [each["name"] for each in known["agents"] if each["provider"] == name]
    problem = wrong_with(agents.provider_of(row))
    return _page(request, face, "agent.html", kind="provider", row=row, problem=problem, used_by=used_by, **known)


@router.get("/ui/agents")
def listing(request: Request, face: Stands, _who: Viewer) -> Response:
    """The lists."""
    return view.fragment(request, "agents", **_all(face))


@router.post("/ui/providers")
def add_provider(
    request: Request,
    face: Stands,
    who: Operator,
    type: Short,
    name: Short = "",
    base_url: Short = "",
    default_model: Short = "",
    key_variable: Short = "",
    key_file: Short = "",
) -> Response:
    """Keep a provider."""
    new = Provider(name.strip(), type, *map(_or_none, (base_url, default_model, key_variable, key_file)))
    with face.session() as session:
        agents.add_provider(session, new, who.name)
    face.watch.soon()
    return view.done(request, f"The provider {new.name} is kept.", "/agents")


@router.post("/ui/providers/{name}")
def edit_provider(
    request: Request,
    name: Name,
    face: Stands,
    who: Operator,
    type: Short,
    base_url: Short = "",
    default_model: Short = "",
    key_variable: Short = "",
    key_file: Short = "",
) -> Response:
    """Change a provider to what the form says."""
    columns = dict(zip(PROVIDER, (type, base_url, default_model, key_variable, key_file), strict=True))
    with face.session() as session:
        agents.edit_provider(session, name, {key: _or_none(text) for key, text in columns.items()}, who.name)
    face.watch.soon()
    return view.done(request, f"The provider {name} is changed.", "/agents")


@router.post("/ui/providers/{name}/remove")
def remove_provider(name: Name, face: Stands, who: Operator) -> Response:
    """Forget a provider."""
    with face.session() as session:
        agents.remove_provider(session, name, who.name)
    face.watch.soon()
    return RedirectResponse("/agents", 303)


@router.post("/ui/agents")
def add_agent(
    request: Request,
    face: Stands,
    who: Operator,
    name: Short = "",
    role: Long = "",
    backstory: Long = "",
    instructions: Long = "",
    provider: Short = "",
    model: Short = "",
    model_parameters: Long = "",
    tools: Long = "",
) -> Response:
    """Keep an agent."""
    given = _columns(role, backstory, instructions, provider, model, model_parameters, tools)
    new = agents.NewAgent(name=name.strip(), **given)
    with face.session() as session:
        agents.add_agent(session, new, who.name)
    face.watch.soon()
    return view.done(request, f"The agent {new.name} is kept.", "/agents")


@router.post("/ui/agents/{name}")
def edit_agent(
    request: Request,
    name: Name,
    face: Stands,
    who: Operator,
    role: Long = "",
    backstory: Long = "",
    instructions: Long = "",
    provider: Short = "",
    model: Short = "",
    model_parameters: Long = "",
    tools: Long = "",
) -> Response:
    """Change an agent to what the form says."""
    given = _columns(role, backstory, instructions, provider, model, model_parameters, tools)
    with face.session() as session:
        # (a parameter that is not in the form any more goes back to its default)
        before = dict.fromkeys(agents.agent(session, name)["model_parameters"])
        given["model_parameters"] = before | given["model_parameters"]
        agents.edit_agent(session, name, given, who.name)
    face.watch.soon()
    return view.done(request, f"The agent {name} is changed, from its next attempt on.", "/agents")


@router.post("/ui/agents/{name}/remove")
def remove_agent(name: Name, face: Stands, who: Operator) -> Response:
    """Forget an agent."""
    with face.session() as session:
        agents.remove_agent(session, name, who.name)
    face.watch.soon()
    return RedirectResponse("/agents", 303)


def _columns(
    role: str, backstory: str, instructions: str, provider: str, model: str, parameters: str, tools: str
) -> dict[str, Any]:
    try:
        given = json.loads(parameters) if parameters.strip() else {}
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise NotValid('the parameters are no JSON object; allowed: such as {"temperature": 0.2, "maxTokens": 4000}')
    return {
        "role": _text(role),
        "backstory": _text(backstory),
        "instructions": _text(instructions),
        "provider": _or_none(provider),
        "model": _or_none(model),
        "model_parameters": given,
        "tools": tuple(each.strip() for each in tools.split(",") if each.strip()),
    }


def _text(text: str) -> str:
    # (a browser ends the lines of a form as mail does)
    return text.replace("\r\n", "\n").strip()


def _or_none(text: str) -> str | None:
    return text.strip() or None


def _all(face: Face) -> dict[str, Any]:
    with face.session() as session:
        providers, known = agents.providers(session), agents.agents(session)
    by_name, told = {row["name"]: row for row in providers}, []
    for row in providers:
        its = agents.provider_of(row)
        told.append(row | {"address": its.address, "held": agents.held(its), "problem": wrong_with(its)})
    # (a provider that came between the two statements is not known yet)
    seen = [row | {"problem": agents.missing(agents.brief_of(row, by_name.get(row["provider"])))} for row in known]
    return {"providers": told, "agents": seen, "types": SUPPORTED}


def _page(request: Request, face: Face, name: str, **values: Any) -> Response:
    from workerpool.api.service import pool

    subject = subject_of(request)
    assert subject is not None, "who is not known does not come here"
    with face.session() as session:
        pause = pool.look(session, face.lease)["pause"]
    return view.page(request, name, runtime=view.runtime(face, subject), follows=None, pause=pause, **values)
