"""Export: write files of the searched model, run each in its own runtime, and keep those that agree.

A file gets its name once it is verified; `export.json` beside it says what was measured.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mpsearch.config import MAX_BITS, Config, Role
from mpsearch.costs.flash import FlashBytes
from mpsearch.errors import ConfigError, ExportError
from mpsearch.export.aligned_biases import with_aligned_biases
from mpsearch.export.building import program_of
from mpsearch.export.folders import ABOUT
from mpsearch.export.formats import FORMATS, Format
from mpsearch.export.runtime import Runtime
from mpsearch.export.verifying import LEAST_AGREEMENT, SAMPLES, Comparison, Layer, Searched
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.searching.engine import Engine

MOST_OFF = 0.02
"""By which a file's payload may differ from the flash cost, relative to it."""
LEAST_SAMPLES = 50
"""Of fewer one that differs says nothing, unless the validation split has no more."""


@dataclass(frozen=True)
class Options:
    """How to export.

    Attributes:
        samples: of the validation split that each file is compared on, at most.
        align_biases: bring biases into the unit of the sums that they are added to.
        accept: share of samples on which a file must agree with the searched model; with less than 0.995 its metric may
            differ by more than 0.2 points as well, in proportion. More is asked of a `.keras` file, whatever is
            accepted: see `keras_file.verify`.
        round_up: where a format can't hold the config, export the nearest that it can.
        debug: compare each layer.
        force: replace files that are there.
    """

    samples: int = SAMPLES
    accept: float = LEAST_AGREEMENT
    align_biases: bool = False
    round_up: bool = False
    debug: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.accept <= 1.0:
            raise ConfigError(f"the share of samples to agree on must be above 0 and at most 1, but got {self.accept}")
        if self.samples < LEAST_SAMPLES:
            raise ConfigError(f"at least {LEAST_SAMPLES} samples must be compared, but got {self.samples}")


@dataclass(frozen=True)
class Exported:
    """A file that was written and verified.

    Attributes:
        format: its name.
        path: of the file.
        bytes: of the file.
        payload: bytes of packed kernels and biases, scales and zero-points in it; None where it holds floats instead.
        flash: what the cost flash predicts of the config as the format holds it, with biases of 32 bits where these are
            in the unit of the sums; bytes.
        searched_flash: what it predicts of the searched config, bytes.
        sha256: of the file.
        comparison: with the searched model.
        rounded: site to (width searched, width exported), where the format couldn't hold the config.
        layers: how each feature map compares, where that was asked for.
    """

    format: str
    path: Path
    bytes: int
    payload: int | None
    flash: int
    searched_flash: int
    sha256: str
    comparison: Comparison
    rounded: Mapping[str, tuple[int, int]]
    layers: Sequence[Layer] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "path": str(self.path)}


def export(
    engine: Engine,
    config: Config,
    folder: Path,
    formats: Sequence[Format],
    about: Mapping[str, Any],
    options: Options | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[Exported]:
    """Write the engine's present weights under `config`, one file for each format.

    Args:
        engine: its network has the config and weights set.
        config: the specs.
        folder: to write to.
        formats: of the files.
        about: more plain data for `export.json`, such as study and trial.
        options: default: `Options()`.
        report: told what is being done.

    Returns:
        The files, in the order of `formats`.

    Raises:
        ExportError: a file is there already, a format can't hold the config, or the file differs from the searched
            model; nothing is then left of it. Files written before it stay, and so do those of another model that
            `force` would have replaced.
        MissingPackageError: what a format needs isn't installed.
    """
    options = options or Options()
    known, stale = _known(folder, config, about, options.force)
    for made in formats:
        if (folder / made.file).exists() and not options.force:
            raise ExportError(f"{folder / made.file} is there already: give --force to replace it, or another --out")
    searched = Searched(engine.network, engine.task, engine.data, engine.ends, options.samples)
    made_folder = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for made in formats:
        report(f"{made.name}: writing {folder / made.file}, comparing it on {len(searched.split)} samples")
        try:
            exported = _exported(engine, config, folder, made, about, options, searched, report)
        except BaseException:
            if made_folder and not any(folder.iterdir()):
                folder.rmdir()
            raise
        for path in stale:
            if path != exported.path:
                path.unlink(missing_ok=True)
        stale = []
        found.append(exported)
        entry = {**exported.to_json(), "path": made.file, "accepted": options.accept, "versions": _versions(made)}
        known[made.name] = entry
        description = {**about, "config": config.to_json(), "fingerprint": config.fingerprint, "files": known}
        _write(folder / ABOUT, json.dumps(description, indent=1))
    return found


def _exported(
    engine: Engine,
    config: Config,
    folder: Path,
    made: Format,
    about: Mapping[str, Any],
    options: Options,
    searched: Searched,
    report: Callable[[str], None],
) -> Exported:
    """Write one file, verify it and give it its name."""
    network = engine.network
    held = _held(engine, config, made, options)
    rounded = {site: (config[site].bits, held[site].bits) for site in config if config[site] != held[site]}
    final = folder / made.file
    partial = final.with_name(f"partial.{final.name}")
    try:
        network.assign_specs(held)
        predicted = round(FlashBytes(network.facts)(config))
        payload, flash = None, round(FlashBytes(network.facts)(held))
        if made.write is None:
            from mpsearch.export.keras_file import KerasRuntime, verify, write_keras

            write_keras(network, held, partial)
            reloaded = KerasRuntime(partial)
            verify(network, held, reloaded.model, engine.data, searched.split)
            runtime: Runtime = reloaded
            tensors = {site: site for site in network.placement.tensors if site in held}
        else:
            program = program_of(network, held)
            if options.align_biases:
                program = with_aligned_biases(program)
            written = made.write(program, partial, _metadata(held, about))
            if made.packed:
                aligned = options.align_biases or (made.limits is not None and made.limits.aligns_biases)
                flash = round(FlashBytes(network.facts)(_with_wide_biases(network, held) if aligned else held))
                payload = written.payload
                _check_payload(made, payload - written.beyond, flash)
            runtime = made.run(partial, written)
            tensors = {site: tensor for tensor, site in program.sites.items()}
        comparison = searched.compare(runtime, tensors)
        fault = comparison.fault(options.accept)
        layers = searched.layers(runtime, tensors) if options.debug or fault else []
        if fault:
            for layer in layers if options.debug else ():
                report(
                    f"  {layer.site}: {layer.differing:.3%} of its codes differ, by up to {layer.worst_steps:.0f} steps"
                )
            raise ExportError(f"the {made.name} file {fault}; {first_difference(layers)}{_advice(made)}")
        os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)
        network.assign_specs(config)
    content = final.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Exported(made.name, final, len(content), payload, flash, predicted, digest, comparison, rounded, layers)


def _held(engine: Engine, config: Config, made: Format, options: Options) -> Config:
    """The config that is written: the searched one, or the nearest that the format can hold.

    Raises:
        ExportError: it can't hold the config, and rounding wasn't asked for.
    """
    if made.limits is None:
        return config
    engine.network.assign_specs(config)
    program = program_of(engine.network, config)
    obstacles = made.limits.obstacles(program)
    if not obstacles:
        return config
    nearest = made.limits.nearest(config, program)
    if options.round_up:
        return nearest
    flash = FlashBytes(engine.network.facts)
    raise ExportError(
        f"a {made.name} file can't hold {len(obstacles)} of the {len(config)} sites:\n  "
        + "\n  ".join(map(str, obstacles))
        + f"\nthe nearest config that it can hold has {engine.costs(nearest).total_bits:,} bits in place of "
        f"{engine.costs(config).total_bits:,}, and {flash(nearest):,.0f} bytes of flash in place of "
        f"{flash(config):,.0f}: --round-up exports that; --format onnx or keras holds the searched one"
    )


def _with_wide_biases(network: ElasticNetwork, config: Config) -> Config:
    """The config with biases of 32 bits, as they are in the unit of the sums."""
    biases = {site.name for site in network.facts.of(Role.BIAS)}
    return Config({site: replace(spec, bits=MAX_BITS) if site in biases else spec for site, spec in config.items()})


def _check_payload(made: Format, payload: int, flash: int) -> None:
    if abs(payload - flash) > MOST_OFF * flash:
        raise ExportError(
            f"the {made.name} file holds {payload:,} bytes of kernels, biases and scales, but the cost flash says "
            f"{flash:,}: more than {MOST_OFF:.0%} off"
        )


def first_difference(layers: Sequence[Layer]) -> str:
    """Where a file first differs from the searched model, in words."""
    for layer in layers:
        if layer.differing:
            return (
                f"the two first differ at `{layer.site}`, in {layer.differing:.2%} of its values by up to "
                f"{layer.worst_steps:.0f} steps"
            )
    return "in the samples that were compared layer by layer no feature map differs"


def _advice(made: Format) -> str:
    """What to do about a file that differs."""
    if made.limits is None or not made.limits.aligns_biases:
        return "; more --samples tell chance from fault, and a lower --accept keeps the file nevertheless"
    return (
        f". The {made.name} kernels round halves upwards, where the searched model rounds them to even codes, and hold "
        "biases in the unit of the sums: feature maps of the scale mode auto have fewer halves, wider ones suffer "
        "less; to keep the file nevertheless, lower --accept"
    )


def _known(folder: Path, config: Config, about: Mapping[str, Any], force: bool) -> tuple[dict[str, Any], list[Path]]:
    """What `export.json` says of files of the same model, and the files of another model that are to be replaced."""
    path = folder / ABOUT
    if not path.exists():
        return {}, []
    try:
        data = json.loads(path.read_text())
        files = dict(data["files"])
    except (ValueError, KeyError, TypeError):
        data, files = {}, {}
    if data.get("fingerprint") == config.fingerprint and all(data.get(key) == about[key] for key in about):
        return files, []
    if not force:
        raise ExportError(
            f"{folder} holds an export of another model (see {path}): give another --out, or --force to replace it"
        )
    return {}, [folder / FORMATS[name].file for name in files if name in FORMATS]


def _metadata(config: Config, about: Mapping[str, Any]) -> dict[str, str]:
    """What a file says of itself."""
    return {
        **{f"mpsearch.{key}": str(value) for key, value in about.items()},
        "mpsearch.version": _version("mpsearch"),
        "mpsearch.fingerprint": config.fingerprint,
        "mpsearch.config": json.dumps(config.to_json(), separators=(",", ":")),
    }


def _versions(made: Format) -> dict[str, str]:
    return {name: _version(name) for name in ("mpsearch", "keras", "tensorflow", *made.packages)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"partial.{path.name}")
    partial.write_text(text)
    os.replace(partial, path)
