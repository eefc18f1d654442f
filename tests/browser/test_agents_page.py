"""The dashboard's page of agents, pressed and read."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import TOKEN
from tests.process.asking import token_of
from tests.process.conftest import up
from tests.process.daemon import Daemon, until
from workerpool.rehearsal import ModelServer, Reply

Pool = Callable[..., Daemon]
Look = Callable[..., Page]
KEY = "sk-proj-0123456789abcdefghij"


def test_an_agent_is_made_works_and_is_changed(pool: Pool, look: Look) -> None:
    """Provider and agent by the forms; a revision of it is followed on its page; what is refused is said, a key too."""
    with ModelServer(lambda asked: Reply(text="word " * 120 + "end", chunk_delay=0.02)) as model:
        daemon = up(pool(api_token=TOKEN))
        page = look(daemon, "/", TOKEN)
        page.get_by_role("link", name="Agents").click()
        expect(page.locator("#main")).to_contain_text("No agents yet")
        form = page.locator("form.fields", has=page.get_by_role("button", name="Add the provider"))
        form.get_by_label("Name").fill("home")
        form.get_by_label("Type").select_option("openai-compatible")
        form.get_by_role("button").click()
        expect(page.locator("#told")).to_contain_text("needs a base URL")
        form.get_by_label("Base URL").fill(model.url)
        form.get_by_label("Default model").fill("m")
        form.get_by_role("button").click()
        expect(page.locator("#told")).to_contain_text("The provider home is kept.")
        expect(page.get_by_role("row", name="home")).to_contain_text(model.url)
        page.reload()
        form = page.locator("form.fields", has=page.get_by_role("button", name="Add the agent"))
        form.get_by_label("Name").fill("writer")
        form.get_by_label("Role").fill("a <b>writer</b>")
        form.get_by_label("Provider").select_option("home")
        form.get_by_label("Parameters").fill('{"temperature": 9}')
        form.get_by_role("button").click()
        expect(page.locator("#told")).to_contain_text("a number from 0 to 2")
        form.get_by_label("Parameters").fill('{"maxTokens": 300}')
        form.get_by_role("button").click()
        expect(page.get_by_role("row", name="writer")).to_contain_text("a <b>writer</b>")
        revision = daemon.insert("page", "agent", {"agent": "writer", "instructions": "write"})
        page.goto(f"/revisions/{revision}")
        expect(page.locator("#main")).to_contain_text("Step 3 of 5: Execute")
        expect(page.locator("#log")).to_contain_text("word word")
        assert daemon.ended(revision)["status"] == "completed"
        expect(page.locator("#main")).to_contain_text("Finalise")
        page.goto("/agents/writer")
        page.get_by_label("Parameters").fill("")
        page.get_by_label("Instructions").fill("Be brief.")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#told")).to_contain_text("changed")
        row = daemon.sql("SELECT instructions, model_parameters FROM agents")[0]
        assert row == {"instructions": "Be brief.", "model_parameters": {}}
        page.goto("/providers/home")
        expect(page.locator("#main")).to_contain_text("Used by writer")
        expect(page.get_by_role("button", name="Remove")).to_have_count(0)
        page.goto("/agents/writer")
        page.get_by_role("button", name="Remove").click()
        page.wait_for_url("/agents")
        assert until(lambda: daemon.sql("SELECT 1 AS one FROM agents") == [])
        viewer = look(daemon, "/agents", token_of(daemon, "viewer", "viewer"))
        expect(viewer.get_by_role("row", name="home")).to_be_visible()
        expect(viewer.locator("form.fields")).to_have_count(0)
        viewer.goto("/providers/home")
        expect(viewer.locator("#main")).to_contain_text(model.url)
        expect(viewer.get_by_role("button", name="Save")).to_have_count(0)
        assert daemon.stop() == 0


def test_it_works_without_scripts_and_loses_nothing(pool: Pool, look: Look) -> None:
    """The forms alone do; what is missing is said; lines and a type that is not known stay; no key is kept."""
    daemon = up(pool(api_token=TOKEN, workers=1))
    page = look(daemon, "/agents", TOKEN, java_script_enabled=False)
    form = page.locator("form.fields", has=page.get_by_role("button", name="Add the provider"))
    form.get_by_label("Name").fill("cloud")
    form.get_by_label("Variable that holds the key").fill(KEY)
    form.get_by_role("button").click()
    expect(page.locator("body")).to_contain_text("looks like a key")
    expect(page.locator("body")).not_to_contain_text(KEY)
    page.goto("/agents")
    form.get_by_label("Name").fill("cloud")
    form.get_by_role("button").click()
    expect(page.get_by_role("row", name="cloud")).to_contain_text("OPENAI_API_KEY")
    expect(page.locator("#main")).to_contain_text("it does not say whether the key is there")
    form = page.locator("form.fields", has=page.get_by_role("button", name="Add the agent"))
    form.get_by_label("Name").fill("writer")
    form.get_by_label("Role").fill("a writer\nof two lines")
    form.get_by_label("Provider").select_option("cloud")
    form.get_by_role("button").click()
    expect(page.get_by_role("row", name="writer")).to_contain_text("it has no model, and its provider no default")
    page.get_by_role("link", name="writer").click()
    expect(page.locator("#main")).to_contain_text("it has no model")
    page.get_by_label("Model").fill("small")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row", name="writer")).not_to_contain_text("it has no model")
    row = daemon.sql("SELECT role, model FROM agents")[0]
    assert (row["role"], row["model"]) == ("a writer\nof two lines", "small")
    daemon.sql("INSERT INTO llm_providers (name, type) VALUES ('odd', 'anthropic')")
    page.goto("/providers/odd")
    expect(page.locator("#main")).to_contain_text("its type is 'anthropic', which is not supported")
    expect(page.get_by_label("Type")).to_have_value("anthropic")
    assert KEY not in str(daemon.sql("SELECT p::text FROM llm_providers p"))
    assert daemon.stop() == 0
