"""Write a Keras model as the Python source that rebuilds it."""

import inspect
import json
import keyword
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import keras

from spaces.errors import one_line

_FLOAT32: Final = "float32"
_INDENT: Final = "    "
_LINE: Final = 88
_HEADER: Final = ("import keras", "from keras import layers", "")
_TAKEN_NAMES: Final = ("keras", "layers", "model", "x")


def keras_code(model: keras.Model) -> str:
    """Return Python source that builds the same layers with new weights.

    Args:
        model: A built functional or Sequential model. A comment replaces each layer that is not
            stock Keras.

    Returns:
        Lines that import Keras and end with `model = ...`; one comment for any other model.
    """
    config = model.get_config()
    if isinstance(model, keras.Sequential):
        return "\n".join([*_HEADER, *_sequential(config)]) + "\n"
    if "input_layers" not in config:
        return _refusal(model.name, "is neither functional nor Sequential")
    if any(len(layer["inbound_nodes"]) > 1 for layer in config["layers"]):
        return _refusal(model.name, "uses a layer more than once")
    return "\n".join([*_HEADER, *_functional(config)]) + "\n"


def _refusal(name: str, reason: str) -> str:
    # Names in somebody else's file may have line breaks, behind which code would follow.
    return f"# {one_line(name)} {reason}, so it is not written out here; load it from its file.\n"


def _sequential(config: Mapping[str, Any]) -> Iterator[str]:
    yield "model = keras.Sequential("
    yield f"{_INDENT}["
    for layer in config["layers"]:
        comment, made = _made(layer, taken=2 * len(_INDENT) + 1)
        for line in [*comment, *f"{made},".splitlines()]:
            yield f"{2 * _INDENT}{line}"
    yield f"{_INDENT}],"
    yield f"{_INDENT}name={_write_value(config['name'])},"
    yield ")"


def _functional(config: Mapping[str, Any]) -> Iterator[str]:
    variables = _variables(config)
    for layer in config["layers"]:
        target = f"{variables[layer['name']]} = "
        inputs = _inputs(layer["inbound_nodes"], variables)
        comment, made = _made(layer, taken=len(target) + len(inputs))
        yield from comment
        yield from f"{target}{made}{inputs}".splitlines()
    ends = [_tensors(config[name], variables) for name in ("input_layers", "output_layers")]
    yield ""
    yield f"model = keras.Model({', '.join(ends)}, name={_write_value(config['name'])})"


def _made(layer: Mapping[str, Any], *, taken: int) -> tuple[list[str], str]:
    """Return comment lines, and the call that makes a layer.

    Args:
        layer: Configuration of the layer.
        taken: Characters around the call on its line.
    """
    config = layer["config"]
    if layer["class_name"] == "InputLayer":
        arguments = [_write_value(config["batch_shape"][1:])]
        if config["dtype"] != _FLOAT32:
            arguments.append(f"dtype={_write_value(config['dtype'])}")
        arguments.append(f"name={_write_value(config['name'])}")
        return [], _write_call("keras.Input", arguments, taken=taken)
    path = f"{layer['module']}.{layer['class_name']}"
    try:
        if layer["module"] != "keras.layers":
            raise _NotStockError(f"{path} is not a stock Keras layer")
        arguments = _write_arguments(getattr(keras.layers, layer["class_name"]), config)
    except _NotStockError as reason:
        name = _identifier(config["name"])
        return [f"# Make the layer {name} yourself: {one_line(reason)}."], name
    return [], _write_call(f"layers.{layer['class_name']}", arguments, taken=taken)


def _inputs(nodes: Sequence[Mapping[str, Any]], variables: Mapping[str, str]) -> str:
    if not nodes:
        return ""
    # Keras stores the `training` and `mask` that it inferred as if they had been given.
    given = {
        name: value
        for name, value in nodes[0]["kwargs"].items()
        if value is not None and not (name == "training" and value is False)
    }
    parts = [_tensors(value, variables) for value in nodes[0]["args"]]
    parts += [f"{name}={_tensors(value, variables)}" for name, value in given.items()]
    return f"({', '.join(parts)})"


def _tensors(part: Any, variables: Mapping[str, str]) -> str:
    """Return the arguments of a call: tensors by the names of their variables, others by value."""
    source = _source(part)
    if source is not None:
        return variables[source]
    if isinstance(part, list | tuple):
        return f"[{', '.join(_tensors(item, variables) for item in part)}]"
    if isinstance(part, Mapping):
        entries = [f"{_write_value(name)}: {_tensors(part[name], variables)}" for name in part]
        return f"{{{', '.join(entries)}}}"
    return _write_value(part)


def _variables(config: Mapping[str, Any]) -> dict[str, str]:
    """Name the output of each layer: `x` if only the next layer uses it, else the layer's name."""
    users: dict[str, list[int]] = defaultdict(list)
    for index, layer in enumerate(config["layers"]):
        for name in _sources(layer["inbound_nodes"]):
            users[name].append(index)
    ends = {*_sources(config["input_layers"]), *_sources(config["output_layers"])}
    return {
        layer["name"]: "x"
        if users[layer["name"]] == [index + 1] and layer["name"] not in ends
        else _identifier(layer["name"])
        for index, layer in enumerate(config["layers"])
    }


def _identifier(name: str) -> str:
    word = re.sub(r"\W", "_", name)
    free = not (word[:1].isdigit() or keyword.iskeyword(word) or word in _TAKEN_NAMES)
    return word if free else f"layer_{word}"


def _sources(part: Any) -> Iterator[str]:
    """Yield the names of the layers whose outputs a part of a configuration refers to."""
    name = _source(part)
    if name is not None:
        yield name
    elif isinstance(part, Mapping):
        for item in part.values():
            yield from _sources(item)
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _sources(item)


def _source(part: Any) -> str | None:
    """Return the layer that a Keras tensor comes from; None for anything else."""
    if isinstance(part, Mapping) and part.get("class_name") == "__keras_tensor__":
        return str(part["config"]["keras_history"][0])
    # The form of a model's inputs and outputs.
    if isinstance(part, list | tuple) and [type(item) for item in part] == [str, int, int]:
        return str(part[0])
    return None


class _NotStockError(Exception):
    """A model uses an object that is not part of Keras; the message names it."""


def _write_call(function: str, arguments: Sequence[str], *, taken: int) -> str:
    """Return a call, on several lines if `taken` other characters leave too little room."""
    inner = ", ".join(arguments)
    if len(function) + len(inner) + 2 + taken <= _LINE:
        return f"{function}({inner})"
    if len(inner) + 2 * len(_INDENT) <= _LINE:
        return f"{function}(\n{_INDENT}{inner}\n)"
    return "\n".join([f"{function}(", *(f"{_INDENT}{part}," for part in arguments), ")"])


def _write_arguments(made: type, config: Mapping[str, Any]) -> list[str]:
    """Return the arguments that make an object of a configuration, without defaults.

    Raises:
        _NotStockError: An argument is of a class that is not stock Keras.
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
        and (name not in defaults or _write_value(config[name]) != _write_value(defaults[name]))
    ]
    named = [*changed, "name"] if "name" in config else changed
    return [_write_value(config[name]) for name in required] + [
        f"{name}={_write_value(config[name])}" for name in named
    ]


def _defaults(made: type, required: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of an object made with required arguments; empty if that fails.

    Signatures do not have the defaults in serialised form.
    """
    try:
        defaults: dict[str, Any] = made(**required).get_config()
    except (AttributeError, TypeError, ValueError):  # an argument may have to be an object itself
        return {}
    # The copied code runs with the default policy of Keras, whatever it is here.
    return defaults | {"dtype": _FLOAT32}


def _write_value(value: Any) -> str:
    """Return a value of a configuration as source.

    Raises:
        _NotStockError: The value is of a class that is not stock Keras.
    """
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        parts = [_write_value(part) for part in value]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(value, Mapping) and "class_name" in value:
        return _write_object(value)
    if isinstance(value, Mapping):
        entries = [f"{_write_value(name)}: {_write_value(part)}" for name, part in value.items()]
        return f"{{{', '.join(entries)}}}"
    return repr(value)


def _write_object(value: Mapping[str, Any]) -> str:
    """Return an initializer, a regularizer or a policy as source."""
    if value["class_name"] == "DTypePolicy":
        return _write_value(value["config"]["name"])
    module = str(value.get("module"))
    if not module.startswith("keras.") or module.startswith("keras.src."):
        name = value["config"] if value["class_name"] == "function" else value["class_name"]
        raise _NotStockError(f"it uses {name}, which is not stock Keras")
    path = f"{module}.{value['class_name']}"
    made = attrgetter(path.removeprefix("keras."))(keras)
    return f"{path}({', '.join(_write_arguments(made, value['config']))})"
