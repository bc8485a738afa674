"""Write a Keras model as the Python source that rebuilds it."""

import keyword
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import keras

from reporting.analysis.keras_values import (
    FLOAT32,
    INDENT,
    NotStockError,
    write_arguments,
    write_call,
    write_value,
)

_HEADER: Final = ("import keras", "from keras import layers", "")
_TAKEN_NAMES: Final = ("keras", "layers", "model", "x")


def keras_code(model: keras.Model) -> str:
    """Python source that builds the same layers again, with fresh weights.

    Args:
        model: Functional or Sequential, and built. In place of a layer that is not stock Keras
            stands a comment that says so, and the layer's name.

    Returns:
        Lines that import Keras and end with `model = ...`; for a model that cannot be written as
        such lines, one comment.
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
    return f"# {name} {reason}, so it is not written out here; load it from its file.\n"


def _sequential(config: Mapping[str, Any]) -> Iterator[str]:
    yield "model = keras.Sequential("
    yield f"{INDENT}["
    for layer in config["layers"]:
        comment, made = _made(layer, taken=2 * len(INDENT) + 1)
        for line in [*comment, *f"{made},".splitlines()]:
            yield f"{2 * INDENT}{line}"
    yield f"{INDENT}],"
    yield f"{INDENT}name={write_value(config['name'])},"
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
    yield f"model = keras.Model({', '.join(ends)}, name={write_value(config['name'])})"


def _made(layer: Mapping[str, Any], *, taken: int) -> tuple[list[str], str]:
    """Comment lines, and the call that makes a layer.

    Args:
        layer: Its part of the model's configuration.
        taken: Characters that stand around the call.
    """
    config = layer["config"]
    if layer["class_name"] == "InputLayer":
        arguments = [write_value(config["batch_shape"][1:])]
        if config["dtype"] != FLOAT32:
            arguments.append(f"dtype={write_value(config['dtype'])}")
        arguments.append(f"name={write_value(config['name'])}")
        return [], write_call("keras.Input", arguments, taken=taken)
    path = f"{layer['module']}.{layer['class_name']}"
    try:
        if layer["module"] != "keras.layers":
            raise NotStockError(f"{path} is not a stock Keras layer")
        arguments = write_arguments(getattr(keras.layers, layer["class_name"]), config)
    except NotStockError as reason:
        name = _identifier(config["name"])
        return [f"# Make the layer {name} yourself: {reason}."], name
    return [], write_call(f"layers.{layer['class_name']}", arguments, taken=taken)


def _inputs(nodes: Sequence[Mapping[str, Any]], variables: Mapping[str, str]) -> str:
    if not nodes:
        return ""
    # Keras stores what it worked out for `training` and `mask` as if it had been given.
    given = {
        name: value
        for name, value in nodes[0]["kwargs"].items()
        if value is not None and not (name == "training" and value is False)
    }
    parts = [_tensors(value, variables) for value in nodes[0]["args"]]
    parts += [f"{name}={_tensors(value, variables)}" for name, value in given.items()]
    return f"({', '.join(parts)})"


def _tensors(part: Any, variables: Mapping[str, str]) -> str:
    """What a layer is called with: tensors by the names of their variables, others as they are."""
    source = _source(part)
    if source is not None:
        return variables[source]
    if isinstance(part, list | tuple):
        return f"[{', '.join(_tensors(item, variables) for item in part)}]"
    if isinstance(part, Mapping):
        entries = [f"{write_value(name)}: {_tensors(part[name], variables)}" for name in part]
        return f"{{{', '.join(entries)}}}"
    return write_value(part)


def _variables(config: Mapping[str, Any]) -> dict[str, str]:
    """Names the output of each layer: `x` where only the next layer uses it, else the layer's."""
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
    """Names of the layers whose outputs occur anywhere in a part of a model's configuration."""
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
    """The layer that a Keras tensor comes from; None for anything else."""
    if isinstance(part, Mapping) and part.get("class_name") == "__keras_tensor__":
        return str(part["config"]["keras_history"][0])
    # So the ends of a model are written.
    if isinstance(part, list | tuple) and [type(item) for item in part] == [str, int, int]:
        return str(part[0])
    return None
