"""What is hidden of configs and commands, and what stays."""

import pytest

from kindling.report.secrets import setting_without_secrets, without_secrets


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("password: two words\nwidth: 3\n", "password: (not shown)\nwidth: 3\n"),
        ("a:\n  - hf_token: x y\n    width: 3\n", "a:\n  - hf_token: (not shown)\n    width: 3\n"),
        ("tokens: 5\nAPI-Key:\n- x\n- y\nwidth: 3\n", "tokens: 5\nAPI-Key:(not shown)\nwidth: 3\n"),
        ("secret: a long\n  one\nb: 1\n", "secret: (not shown)\nb: 1\n"),
        ("class_token: true\ntoken: null\n", "class_token: true\ntoken: null\n"),
        ("# changed: model.api_key: old → new; b: 1 → 2\n", "# changed: model.api_key: (not shown) b: 1 → 2\n"),
        ("fit '--x.password=two words' --b 1", "fit '--x.password=(not shown)' --b 1"),
        ("fit --x.password 'two words' --b 1", "fit --x.password (not shown) --b 1"),
        ("fit --data.target token --data.text token", "fit --data.target token --data.text token"),
        ("storage: mysql://me:word@host:1/a", "storage: mysql://me:(not shown)@host:1/a"),
        ("https://host:80/a", "https://host:80/a"),
    ],
)
def test_secrets_in_texts(text: str, left: str) -> None:
    assert without_secrets(text) == left


def test_secrets_in_settings() -> None:
    assert setting_without_secrets("two words", "trainer.logger.api_key") == "(not shown)"
    assert setting_without_secrets(None, "hub.token") == "None"
    assert setting_without_secrets(7, "data.tokens") == "7"


@pytest.mark.parametrize("text", ["a" * 200_000, "-" * 200_000, "'--" * 60_000])
def test_a_long_text_is_not_searched_anew_from_each_letter(text: str) -> None:
    assert without_secrets(text) == text  # would take hours
