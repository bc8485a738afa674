from typing import Any

import pytest

from spaces import DataShape, FunctionSpace, SpaceError, description, load_space
from spaces.cnn import CnnSpace
from spaces.mlp import MlpSpace

DATA = DataShape((20, 24, 3), 7, mirror=False)


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """Write modules into the current directory; unload them afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    made: list[str] = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        made.append(name)

    yield write
    for name in made:
        monkeypatch.delitem("sys.modules", name, raising=False)


def test_built_in_spaces_load_by_name():
    assert isinstance(load_space("cnn", DATA), CnnSpace)
    assert isinstance(load_space("mlp", DATA), MlpSpace)


def test_a_class_in_the_current_directory_loads(user_module):
    user_module("my_space_good", "class Mine:\n    def build(self, hp):\n        return hp")
    assert load_space("my_space_good:Mine", DATA).build(7) == 7


def test_the_name_of_a_module_may_have_a_hyphen(user_module):
    user_module("my-space", "class Mine:\n    def build(self, hp):\n        return hp")
    assert load_space("my-space:Mine", DATA).build(7) == 7


@pytest.mark.parametrize(
    ("parameters", "given"),
    [
        ("image_shape, classes", {"image_shape": (20, 24, 3), "classes": 7}),
        ("*, classes, width=4", {"classes": 7, "width": 4}),
        ("mirror=None, classes=2", {"mirror": False, "classes": 7}),
        ("name='mine'", {"name": "mine"}),
        ("**more", {"more": {}}),
    ],
)
def test_a_class_gets_what_it_asks_for_of_the_data(user_module, parameters, given, request):
    module = f"my_space_asking_{request.node.callspec.indices['parameters']}"
    text = (
        "class Mine:\n"
        f"    def __init__(self, {parameters}):\n"
        "        del self\n"
        "        Mine.given = dict(locals())\n"
        "    def build(self, hp): return self.given"
    )
    user_module(module, text)
    assert load_space(f"{module}:Mine", DATA).build(7) == given


@pytest.mark.parametrize(
    "text",
    [
        "def mine(hp):\n    return hp",
        "mine = lambda hp: hp",
        "import functools\nmine = functools.partial(lambda size, hp: hp, 3)",
        "class Mine:\n    def __init__(self, size): pass\n    def build(self, hp): return hp\n"
        "mine = Mine(3)",
    ],
)
def test_a_function_or_an_instance_is_a_space_too(user_module, text, request):
    module = f"my_space_named_{request.node.callspec.indices['text']}"
    user_module(module, text)
    assert load_space(f"{module}:mine", DATA).build(7) == 7


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ccn",
            r"^space 'ccn' is unknown; use cnn or mlp, or your own as package\.module:NAME of "
            r"a class or a function\. Did you mean 'cnn'\?$",
        ),
        (
            "zzzzz",
            r"your own as package\.module:NAME of a class or a function\.$",
        ),
        (":Mine", r"^space ':Mine' is unknown; use cnn or mlp"),
        (
            "no_such_module:Mine",
            r"^space 'no_such_module:Mine': cannot import module 'no_such_module' from .* "
            r"ModuleNotFoundError: No module named 'no_such_module'\.$",
        ),
        (".relative:Mine", r"^space '\.relative:Mine': cannot import module '\.relative'"),
        ("my model:Mine", r"^space 'my model:Mine' has characters that a study does not store"),
        ("-model:Mine", r"no '-' first"),
        ("model:Mine.build", r"letters, digits and '_' after the colon\. Rename"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(name, message):
    with pytest.raises(SpaceError, match=message):
        load_space(name, DATA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", r"cannot import module .* ZeroDivisionError: division by zero\.$"),
        (
            "class Mina: pass\nclass Other: pass",
            r"has no 'Mine'; its classes and functions are Mina, Other\. Did you mean 'Mina'\?$",
        ),
        ("import os", r"has no 'Mine'; its classes and functions are \(none\)\.$"),
        ("Mine = 3", r"Mine has no method build\(hp\); add one\.$"),
        ("import sys\nsys.exit('no data')", r"cannot import module .* SystemExit: no data\.$"),
        (
            "class Mine:\n    def __init__(self): raise SystemExit('no data')",
            r"Mine\(\) raised SystemExit: no data; make it work without "
            r"arguments, or with image_shape and classes\.$",
        ),
        ("class Mine: pass", r"Mine has no method build\(hp\); add one\.$"),
        ("class Mine:\n    build = 3", r"Mine has no method build\(hp\); add one\.$"),
        (
            "class Mine:\n    def __init__(self, size): pass\n    def build(self, hp): pass",
            r"Mine\(\) raised TypeError: .* argument: 'size'; make it work without "
            r"arguments, or with image_shape and classes\.$",
        ),
    ],
)
def test_an_error_in_a_users_space_is_one_line(user_module, text, message, request):
    module = f"my_space_{request.node.callspec.indices['text']}"
    user_module(module, text)
    with pytest.raises(SpaceError, match=rf"^space '{module}:Mine': .*{message}") as caught:
        load_space(f"{module}:Mine", DATA)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("described", [lambda: "dense", lambda params: {"units": 8}, True])
def test_what_a_class_has_under_the_name_describe_is_no_description(described: Any) -> None:
    space = FunctionSpace(lambda hp: None)
    assert description(space, {"units": 8}) is None
    mine: Any = type("Mine", (), {"build": None, "describe": described})
    assert description(mine, {"units": 8}) is None
    mine.describe = lambda params: f"{params['units']} units"
    assert description(mine, {"units": 8}) == "8 units"
    assert description(mine, {}) is None
