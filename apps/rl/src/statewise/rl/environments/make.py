"""From a name on the command line to an environment: ours, gymnasium's, or anyone's by `package:EnvId`."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
from gymnasium import error as faults
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from statewise.core.errors import ConfigError, DataError, MissingExtraError, UnknownNameError
from statewise.core.registry import canonical
from statewise.rl.environments import ENVIRONMENTS
from statewise.rl.environments.encode import Encoded
from statewise.rl.environments.guard import Guard

__all__ = ["EnvironmentSpec", "make", "make_vector", "options_from"]

logger = logging.getLogger("statewise")

_EXTRAS = {"ALE": ("ale_py", "statewise-rl[atari]"), "MinAtar": ("minatar", "statewise-rl[minatar]")}


@dataclass(frozen=True, kw_only=True)
class EnvironmentSpec:
    """An environment by name; what `env.json` of a run holds."""

    id: str
    """A name of `rl envs`, an id of gymnasium, or `package:EnvId`."""
    options: dict[str, Any] = field(default_factory=dict)
    """What its constructor is given."""

    @property
    def label(self) -> str:
        """`tmaze(length=100)`, for people."""
        inside = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.id}({inside})" if inside else self.id


def options_from(words: Sequence[str], where: str = "--set") -> dict[str, Any]:
    """`["length=100", "mode=easy"]` as a dict; values are JSON where they can be, else text.

    Raises:
        ConfigError: a word without `=`.
    """
    options: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise ConfigError("is no setting", where=where, seen=word, expected="NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def make(spec: EnvironmentSpec, *, render: bool = False) -> Guard:
    """The environment of a spec, its spaces in the form that models know, every answer checked.

    Args:
        spec: which one.
        render: whether `render` shall return pictures.

    Raises:
        UnknownNameError: there is none of that name.
        MissingExtraError: it needs a package that is not installed.
        DataError: its package or its constructor fails, or its spaces are of no use here.
    """
    options = dict(spec.options) | ({"render_mode": "rgb_array"} if render else {})
    ours = spec.id in ENVIRONMENTS
    try:
        env = ENVIRONMENTS.load(spec.id)(**options) if ours else _gymnasium(spec.id, options)
    except (DataError, ConfigError, UnknownNameError, MissingExtraError):
        raise
    except faults.DependencyNotInstalled as error:
        raise MissingExtraError(
            str(error).partition("'")[2].partition("'")[0] or "see the message below",
            "gymnasium[classic-control,mujoco]",
            f"{spec.id} ({_first_line(error)})",
        ) from None
    except Exception as error:
        known = ", ".join(ENVIRONMENTS[spec.id].facts.get("options", ())) if ours else ""
        raise DataError(
            "cannot be made",
            where=f"environment '{spec.label}'",
            seen=f"{type(error).__name__}: {_first_line(error)}",
            expected=f"options among: {known}" if known else None,
            fix="correct the options given with --set",
        ) from error
    return Guard(Encoded(env, spec.label), spec.label)


def make_vector(
    spec: EnvironmentSpec, count: int, mode: AutoresetMode = AutoresetMode.DISABLED
) -> SyncVectorEnv:
    """`count` copies of an environment, stepped one after the other in this process."""
    return SyncVectorEnv([lambda: make(spec)] * count, autoreset_mode=mode)


def _gymnasium(name: str, options: Mapping[str, Any]) -> gymnasium.Env:
    package, _, rest = name.rpartition(":")
    if package:
        _import(package, name)
    _register(rest.partition("/")[0])
    if rest.startswith("ALE/"):
        return _atari(name, options)
    try:
        return gymnasium.make(name, disable_env_checker=True, **options)
    except (faults.NameNotFound, faults.NamespaceNotFound, faults.VersionNotFound, faults.UnregisteredEnv):
        known = [*ENVIRONMENTS, *gymnasium.registry]
        raise _unknown(name, known) from None
    except faults.DeprecatedEnv as error:
        raise DataError(
            "is out of date",
            where=f"environment '{name}'",
            seen=_first_line(error),
            fix="use a newer version",
        ) from None
    except faults.Error as error:
        if isinstance(error, faults.DependencyNotInstalled):
            raise
        raise DataError(
            "cannot be made", where=f"environment '{name}'", seen=_first_line(error), fix="check the id"
        ) from None


def _unknown(name: str, known: Sequence[str]) -> UnknownNameError:
    error = UnknownNameError("environment", name, known)
    near = error.fix
    short = UnknownNameError("environment", name, list(ENVIRONMENTS))
    lower = canonical(name)
    if near is None:
        near = next((f"did you mean '{one}'?" for one in known if canonical(one).startswith(lower)), None)
    short.fix = near or "rl envs lists them; package:EnvId imports the package first"
    short.expected = f"one of {', '.join(ENVIRONMENTS)}, an id of gymnasium, or package:EnvId"
    short.args = (short.render(),)
    return short


def _import(package: str, name: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise DataError(
            f"its package cannot be imported ({error})",
            where=f"environment '{name}'",
            expected="package:EnvId, the package importable from here",
            fix="install the package, or run with PYTHONPATH=.",
        ) from None


def _register(namespace: str) -> None:
    """Let the packages behind extras add their ids, when one of theirs is asked for."""
    if namespace not in _EXTRAS:
        return
    package, extra = _EXTRAS[namespace]
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise MissingExtraError(package, extra, f"{namespace}/ environments") from None
    if namespace == "ALE":
        gymnasium.register_envs(module)
    elif f"{namespace}/Breakout-v1" not in gymnasium.registry:
        importlib.import_module("minatar.gym").register_envs()


def _atari(name: str, options: Mapping[str, Any]) -> gymnasium.Env:
    """The protocol of Atari 100k: no sticky actions, every action four times, 64 x 64 in colour."""
    from statewise.rl.environments.atari import AtariFrames

    chosen = {"frameskip": 1, "repeat_action_probability": 0.0, "obs_type": "rgb"} | dict(options)
    env = gymnasium.make(name, disable_env_checker=True, **chosen)
    return AtariFrames(env, repeat=4 if chosen["frameskip"] == 1 else 1)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
