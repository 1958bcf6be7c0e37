"""A space file of an AutoQKeras configuration: its `quantization_config`, `limit` and `goal`, as text.

What mpsearch has no counterpart of is left out and named. Source of the form: qkeras 0.9 and qkeras-v3 1.2,
`autoqkeras.AutoQKeras` and `autoqkeras.autoqkeras_internal`.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpsearch.config import MAX_BITS, MIN_BITS
from mpsearch.errors import ConfigError

PARTS = ("quantization_config", "limit", "goal")
ROLES = ("kernel", "bias", "activation")
_POSITIONS = {  # of a quantizer's arguments
    "quantized_bits": ("bits", "integer", "symmetric", "keep_negative", "alpha"),
    "quantized_linear": ("bits", "integer", "symmetric", "keep_negative", "alpha"),
    "quantized_relu": ("bits", "integer"),
}
_OTHER_OPTIONS = {
    "learning_rate_optimizer": "no optimizer state is shared between trials",
    "transfer_weights": "each trial starts from the float weights",
    "tune_filters": "numbers of filters aren't searched: build the model with those you want",
    "tune_filters_exceptions": "numbers of filters aren't searched",
    "layer_indexes": "name the layers that stay float in space.skip()",
    "overwrite_project": "a study goes on where it stopped; another --name makes a new one",
    "output_dir": "studies are kept in a storage: --storage",
    "mode": "study create --sampler auto, tpe, random, …",
    "max_trials": "study run NAME --trials N",
    "seed": "study create --seed N",
    "activation_bits": "widths of feature maps stand in the menu `activation`",
    "custom_objects": "a layer of your own: register_layer",
    "head_name": "layers have the names that they have in the model",
    "distribution_strategy": "trials are spread over processes: study run NAME --jobs N, --ray",
    "blocks": "search all layers at once: the sampler auto does so with few trials",
    "schedule_block": "search all layers at once",
    "score_metric": "Task(metric=…)",
    "extend_model_metrics": "Task(further_metrics=…) names further ones",
}


@dataclass(frozen=True)
class Converted:
    """A converted configuration.

    Attributes:
        text: of the space file; model and data are left for the user to fill in.
        notes: what has no counterpart, or another one than one might think.
    """

    text: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Quantizer:
    """A quantizer that mpsearch has: its width, and its scale mode or fixed point."""

    bits: int
    alpha: str | None
    integer: int | None
    signed: bool


def convert(given: Mapping[str, Any], source: str) -> Converted:
    """A space file of an AutoQKeras configuration.

    Args:
        given: `quantization_config`, `limit` and `goal`, as AutoQKeras takes them; further arguments of it are named in
            the notes.
        source: where it came from, for the file's first line.

    Raises:
        ConfigError: a part is missing or isn't what AutoQKeras takes.
    """
    if not isinstance(given, Mapping) or "quantization_config" not in given:
        raise ConfigError(
            f"{source} must be a JSON object with {', '.join(PARTS)}, as they are given to AutoQKeras, but has "
            f"{sorted(given) if isinstance(given, Mapping) else type(given).__name__}"
        )
    notes: list[str] = []
    menus = _menus(_mapping(given, "quantization_config"), notes)
    statements, pattern_used = _limits(_mapping(given, "limit"), menus, notes)
    goal, names = _goal(_mapping(given, "goal"), notes)
    for key in given:
        if key not in PARTS:
            notes.append(f"{key}: {_OTHER_OPTIONS.get(key, 'has no counterpart')}")
    lines = [
        f'"""Made of the AutoQKeras configuration {source} by `mpsearch convert-autoqkeras`."""',
        "",
        *(["import re", ""] if pattern_used else []),
        f"from mpsearch import {', '.join(sorted({*names, *_NAMES}, key=_import_order))}",
        "",
        "",
        "def model():",
        '    """Your float Keras model."""',
        f'    raise MpsearchError("model() {_EMPTY_FUNCTION}: build your float Keras model in it and return it")',
        "",
        "",
        "def data():",
        '    """Your data: Data(train, validation, test) of mpsearch, each a Split(x, y)."""',
        f'    raise MpsearchError("data() {_EMPTY_FUNCTION}: load your data in it and return it")',
        "",
        "",
        "task = Task(model=model, data=data, training=Training(epochs=3))",
        "",
        "space = Space(",
        *(f"    {role}={menus[role]}," for role in ROLES if role in menus),
        ")",
        *statements,
        *(["", *goal] if goal else []),
    ]
    return Converted("\n".join(lines) + "\n", tuple(notes))


_NAMES = ("MpsearchError", "Space", "Task", "Training", "bits")
_EMPTY_FUNCTION = "of this space file is empty"


def _import_order(name: str) -> tuple[bool, str]:
    return name[0].islower(), name


def _mapping(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = given.get(name) or {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"`{name}` must be an object, as AutoQKeras takes it, but is {found!r}")
    return found


def _menus(config: Mapping[str, Any], notes: list[str]) -> dict[str, str]:
    """Role to the text of its menu."""
    found = {}
    for role in ROLES:
        entries = config.get(role) or {}
        if not isinstance(entries, (Mapping, list)):
            raise ConfigError(f"`quantization_config.{role}` must map quantizers to bits, but is {entries!r}")
        known = [quantizer for text in entries if (quantizer := _quantizer(str(text), role, notes)) is not None]
        if known:
            found[role] = _menu(known, role, notes)
        elif entries:
            notes.append(f"{role}: no quantizer of its menu exists in mpsearch, so it stays float")
    linear = [str(text) for text in config.get("linear") or {}]
    if linear:
        notes.append(
            f"linear ({', '.join(linear)}): feature maps without an activation function take the menu `activation`; "
            "space.at(LAYER, activation=bits(…)) gives some another one"
        )
    for role in config:
        if role not in (*ROLES, "linear"):
            notes.append(f"{role}: not a menu of mpsearch's, left out")
    if not found:
        raise ConfigError("no quantizer of `quantization_config` exists in mpsearch: " + "; ".join(notes))
    return found


def _quantizer(text: str, role: str, notes: list[str]) -> _Quantizer | None:
    name, arguments = _call(text)
    if name not in _POSITIONS:
        notes.append(f"{role}: {text} has no counterpart, left out: codes have {MIN_BITS} bits at least, evenly spaced")
        return None
    bits = arguments.get("bits", 8)
    if type(bits) is not int or not MIN_BITS <= bits <= MAX_BITS:
        notes.append(f"{role}: {text} has no counterpart, left out: widths are {MIN_BITS} to {MAX_BITS} bits")
        return None
    alpha = arguments.get("alpha")
    if isinstance(alpha, str) and alpha not in ("auto", "auto_po2"):
        notes.append(f"{role}: {text} has an unknown alpha, left out")
        return None
    signed = name != "quantized_relu" and bool(arguments.get("keep_negative", True))
    if isinstance(alpha, str):
        return _Quantizer(bits, alpha, None, signed)
    return _Quantizer(bits, None, int(arguments.get("integer", 0)), signed)


def _call(text: str) -> tuple[str, dict[str, Any]]:
    """A quantizer's name and arguments."""
    try:
        parsed = ast.parse(text.strip(), mode="eval").body
        if isinstance(parsed, ast.Name):
            return parsed.id, {}
        assert isinstance(parsed, ast.Call)
        assert isinstance(parsed.func, ast.Name)
        values = [ast.literal_eval(value) for value in parsed.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in parsed.keywords if keyword.arg}
    except (SyntaxError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"{text!r} isn't a quantizer as AutoQKeras takes it, such as quantized_bits(4,0,1)"
        ) from error
    positions = _POSITIONS.get(parsed.func.id, ())
    return parsed.func.id, {**dict(zip(positions, values, strict=False)), **named}


def _menu(quantizers: Sequence[_Quantizer], role: str, notes: list[str]) -> str:
    widths = ", ".join(str(width) for width in sorted({quantizer.bits for quantizer in quantizers}))
    alphas = sorted({quantizer.alpha for quantizer in quantizers if quantizer.alpha is not None})
    fixed = {(quantizer.integer, quantizer.signed) for quantizer in quantizers if quantizer.alpha is None}
    if not alphas and len(fixed) == 1:
        ((integer, signed),) = fixed
        return f"bits({widths}, integer={integer}{'' if signed or role != 'activation' else ', signed=False'})"
    if fixed:
        alphas = sorted({*alphas, "auto"})
        notes.append(
            f"{role}: fixed point with several numbers of integer bits, or beside other scales, becomes auto, whose "
            "scale follows the values"
        )
    if len(alphas) > 1:
        notes.append(f"{role}: each width comes with each of the scale modes {' and '.join(alphas)}")
    named = f'"{alphas[0]}"' if len(alphas) == 1 else "[" + ", ".join(f'"{alpha}"' for alpha in alphas) + "]"
    return f"bits({widths}, alpha={named})"


def _limits(limit: Mapping[str, Any], menus: Mapping[str, str], notes: list[str]) -> tuple[list[str], bool]:
    """Statements on the space, and whether one has a regular expression."""
    found, uses_patterns = [], False
    for key, given in limit.items():
        if key == "default":
            notes.append(f"limit.default={given!r}: name each class in space.caps()")
            continue
        entries = list(given) if isinstance(given, (list, tuple)) else [given]
        if not entries:
            notes.append(f"limit.{key}=[]: " + _EMPTY.get(key, f'leave it float with space.skip("{key}")'))
            continue
        if key in _FUNCTIONS:
            notes.append(f"limit.{key}: feature maps are quantized behind their functions, so it caps all of them")
            key = "*"
        pattern, is_pattern = _pattern(key)
        uses_patterns |= is_pattern
        if len(entries) == 4:
            notes.append(f"limit.{key}: the second of four, of recurrent kernels, is that of all kernels here")
            entries = [entries[0], *entries[2:]]
        roles = ROLES if len(entries) == 3 else ROLES[2:]
        if len(entries) not in (1, 3):
            raise ConfigError(f"`limit.{key}` must have one, three or four entries, but is {given!r}")
        caps = [
            entry if type(entry) is int and role in menus else None for role, entry in zip(roles, entries, strict=True)
        ]
        if any(cap is not None for cap in caps):
            found.append(f"space.caps({{{pattern}: [{', '.join(map(str, caps))}]}})")
        for role, entry in zip(roles, entries, strict=True):
            if not isinstance(entry, (int, list, tuple)) or isinstance(entry, bool):
                raise ConfigError(f"`limit.{key}` must have widths or lists of quantizers, but has {entry!r}")
            if isinstance(entry, (list, tuple)):
                known = [q for text in entry if (q := _quantizer(str(text), f"limit.{key} {role}", notes)) is not None]
                if known:
                    found.append(f"space.at({pattern}, {role}={_menu(known, f'limit.{key} {role}', notes)})")
    return found, uses_patterns


_FUNCTIONS = ("Activation", "ReLU", "QActivation", "LeakyReLU")
"""Layers that have no feature map of their own here: it is that of the layer before."""
_EMPTY = {"BatchNormalization": "BatchNorms are folded into the layers before them"}


def _pattern(key: str) -> tuple[str, bool]:
    """The text of a pattern, and whether it is a regular expression."""
    if key == "*" or re.fullmatch(r"\w+", key):
        return f'"{key}"', False
    text = key.removeprefix("^")
    text = text.removesuffix("$") if text.endswith("$") else f"{text}.*"  # AutoQKeras matches beginnings
    return f're.compile(r"{text}")', True


def _goal(goal: Mapping[str, Any], notes: list[str]) -> tuple[list[str], list[str]]:
    """Lines of the space file on the score, and the names that they use."""
    params = goal.get("params") or {}
    kind = goal.get("type", "bits")
    if kind == "energy":
        notes.append("goal.type=energy: mpsearch study create … --objective score --cost energy")
    elif kind != "bits":
        notes.append(f"goal.type={kind}: has no counterpart; the score is metric times what a saving of bits is worth")
    parts = (params.get("config") or {}).get("default")
    if kind == "bits" and parts in (["parameters"], ["activations"]):
        notes.append(f"goal counts {parts[0]} alone: study create … --cost {parts[0].removesuffix('s')}_bits")
    factor = {key: params[key] for key in ("delta_p", "delta_n", "rate", "stress") if key in params}
    lines, names = [], []
    if factor:
        lines.append(f"forgiving = ForgivingFactor({', '.join(f'{k}={v!r}' for k, v in factor.items())})")
        names.append("ForgivingFactor")
    used = {*factor, "config", "ref_bits", "input_bits", "output_bits"}
    if left := sorted(set(params) - used):
        notes.append(f"goal.params: {', '.join(left)}: left out; costs take a --profile of the device in their place")
    width = params.get("ref_bits")
    if isinstance(width, int):
        ends = "".join(f", {end}={params[f'{end}_bits']}" for end in ("input", "output") if f"{end}_bits" in params)
        lines.append(f"reference = ReferenceBits(kernel={width}, bias={width}, activation={width}{ends})")
        names.append("ReferenceBits")
    return lines, names
