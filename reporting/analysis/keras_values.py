"""Write what a Keras configuration holds as Python source: values, arguments, calls."""

import inspect
import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import keras

FLOAT32: Final = "float32"
INDENT: Final = "    "
_LINE: Final = 88


class NotStockError(Exception):
    """Something that stock Keras alone cannot make; the message says what."""


def write_call(function: str, arguments: Sequence[str], *, taken: int) -> str:
    """A call, on one line if it fits there, else on several.

    Args:
        function: Its name.
        arguments: As they are written.
        taken: Characters that stand around the call on its line.
    """
    inner = ", ".join(arguments)
    if len(function) + len(inner) + 2 + taken <= _LINE:
        return f"{function}({inner})"
    if len(inner) + 2 * len(INDENT) <= _LINE:
        return f"{function}(\n{INDENT}{inner}\n)"
    return "\n".join([f"{function}(", *(f"{INDENT}{part}," for part in arguments), ")"])


def write_arguments(made: type, config: Mapping[str, Any]) -> list[str]:
    """The arguments that make an object of this configuration, without those at their default.

    Args:
        made: Its class.
        config: As its `get_config` gives it.

    Raises:
        NotStockError: An argument holds something that is not of stock Keras.
    """
    signature = inspect.signature(made).parameters
    required = [
        name
        for name, parameter in signature.items()
        if parameter.default is parameter.empty and name in config
    ]
    defaults = _defaults(made, {name: config[name] for name in required})
    rest = [name for name in [*signature, *config] if name in config and name not in required]
    changed = [
        name
        for name in dict.fromkeys(rest)
        if name != "name"
        and (name not in defaults or write_value(config[name]) != write_value(defaults[name]))
    ]
    named = [*changed, "name"] if "name" in config else changed
    return [write_value(config[name]) for name in required] + [
        f"{name}={write_value(config[name])}" for name in named
    ]


def _defaults(made: type, required: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of an object made of required arguments alone; empty if that fails.

    Defaults are read from an object, since signatures do not have them in serialised form.
    """
    try:
        defaults: dict[str, Any] = made(**required).get_config()
    except (AttributeError, TypeError, ValueError):  # an argument may have to be an object itself
        return {}
    # Whoever copies the code has Keras' own default policy, whatever it is here.
    return defaults | {"dtype": FLOAT32}


def write_value(value: Any) -> str:
    """A value of a configuration.

    Raises:
        NotStockError: It is of a class that is not of stock Keras.
    """
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        parts = [write_value(part) for part in value]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(value, Mapping) and "class_name" in value:
        return _write_object(value)
    if isinstance(value, Mapping):
        entries = [f"{write_value(name)}: {write_value(part)}" for name, part in value.items()]
        return f"{{{', '.join(entries)}}}"
    return repr(value)


def _write_object(value: Mapping[str, Any]) -> str:
    """An initializer, a regularizer, a policy."""
    if value["class_name"] == "DTypePolicy":
        return write_value(value["config"]["name"])
    module = str(value.get("module"))
    if not module.startswith("keras.") or module.startswith("keras.src."):
        name = value["config"] if value["class_name"] == "function" else value["class_name"]
        raise NotStockError(f"it uses {name}, which is not stock Keras")
    path = f"{module}.{value['class_name']}"
    made = attrgetter(path.removeprefix("keras."))(keras)
    return f"{path}({', '.join(write_arguments(made, value['config']))})"
