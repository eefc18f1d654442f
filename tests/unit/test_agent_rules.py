"""What is taken for a key where a name or a text is wanted, and what is not."""

import pytest

from workerpool.api.service.agent_rules import check_provider, looks_like_a_key, spelled, spelled_anew
from workerpool.api.service.refusals import NotValid
from workerpool.core.agent import Provider, wrong_with


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-0123456789abcdefghij",
        "sk-3f7a9c0e5b1d4826af93e7c10b5d8264",
        "the key is sk-ant-api03-Qm7Zt4Kx91LpWvB2 and stays",
        "http://me:gsk_a1B2c3D4e5F6g7H8i9J0@127.0.0.1/v1",
        "hf_AbCdEfGhIjKlMnOpQrStUvWx12",
        "AIzaSyA1b2C3d4E5f6G7h8I9j0KlMnOpQrStUvW",
        "wp_mZ4kQ9tX2vB7nR5cL8dF1gH6jK3pW0sY",
        "3f7a9c0e5b1d4826af93e7c10b5d8264",
        " a1B2c3D4e5F6g7H8i9J0k1L2 ",
    ],
)
def test_a_key_is_known_for_one(text: str) -> None:
    """By how it begins, wherever it stands, or by being a random text."""
    assert looks_like_a_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OPENAI_API_KEY",
        "THE_KEY_OF_THE_SECOND_PROVIDER_FOR_2026",
        "/run/secrets/workerpool/providers/openai_key_file",
        "~/keys/sk-deepseek-production-2026",
        "gpt-5-mini",
        "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        "ft:gpt-4o-mini-2024-07-18:acme:page-editor:9aBcDeFg",
        "https://gateway.example/v1/3f7a9c0e5b1d4826af93e7c10b5d8264/openai",
        "Never write sk-XXXXXXXXXXXXXXXXXXXX or another key into a page.",
        "productionopenaiprovider2026",
    ],
)
def test_a_name_is_no_key(text: str) -> None:
    """Models, paths, variables and prose that look a little like one are let through."""
    assert not looks_like_a_key(text)


@pytest.mark.parametrize(
    "address", ["http://me:hush@127.0.0.1/v1", "http://me@127.0.0.1/v1", "http://x/v1?k=3f7a9c0e5b1d4826af93e7c10b5d82"]
)
def test_an_address_holds_no_secret(address: str) -> None:
    """A password is as little kept as a key, and not repeated."""
    row = {"name": "x", "type": "openai", "default_model": None, "key_variable": None, "key_file": None}
    with pytest.raises(NotValid) as refused:
        check_provider(row | {"base_url": address})
    assert not {"hush", "3f7a9c0e5b1d4826af93e7c10b5d82", "me@"} & set(str(refused.value).replace(":", " ").split())
    check_provider(row | {"base_url": "http://127.0.0.1:9/v1?version=2026-01-01"})


def test_a_parameter_has_one_spelling() -> None:
    """The table's; of two the one that says something; a change takes back what the other spelling said."""
    assert spelled({"max_tokens": 5, "top_p": None, "seed": 1}) == {"maxTokens": 5, "topP": None, "seed": 1}
    assert spelled({"maxTokens": 5, "max_tokens": None}) == {"maxTokens": 5}
    assert spelled_anew({"maxTokens": 5, "seed": None}) == {"max_tokens": None, "maxTokens": 5, "seed": None}


@pytest.mark.parametrize("variable", ["WORKERPOOL_DATABASE_URL", "WORKERPOOL_API_TOKEN", "workerpool_x", "PGPASSWORD"])
def test_no_secret_of_ours_is_a_provider_s_key(variable: str) -> None:
    """S5, S9: who may write a provider says where its key is sent; the pool's own secrets go nowhere."""
    provider = {"name": "p", "type": "openai-compatible", "base_url": "http://evil.example/v1", "default_model": None}
    with pytest.raises(NotValid, match="is sent to nobody"):
        check_provider(provider | {"key_variable": variable, "key_file": None})
    assert wrong_with(Provider("p", "openai", key_variable=variable)) is not None, "a row that came by SQL too"
    assert wrong_with(Provider("p", "openai", key_variable="PGP_KEY")) is None
