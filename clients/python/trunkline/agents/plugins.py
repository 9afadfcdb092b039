"""PluginSet: objects that live as long as an agent, such as connections."""

from __future__ import annotations

import copy
import logging
from typing import Any

_log = logging.getLogger(__name__)


class PluginSet:
    """The plugins of one agent, as attributes. Defaults are class attributes, of which each agent has a copy of its
    own; the constructor overrides them by name.

        class Plugin(PeriodicAgent.Plugin):
            database = Database("orders.db")

    These methods of a plugin are called in the agent's process, where it has them: `set_owner(agent)` and
    `initialize()` before `setup`, and `finalize()` after `on_close`. An exception of `initialize` makes the agent fail.
    """

    def __init__(self, **plugins: Any) -> None:
        for base in reversed(type(self).__mro__):
            for name, value in vars(base).items():
                if not name.startswith("_") and _is_plugin(value):
                    setattr(self, name, copy.copy(value))
        for name, value in plugins.items():
            setattr(self, name, value)

    def initialize(self, owner: object) -> None:
        """Sets the owner of each plugin and initializes it, in their order."""
        for plugin in vars(self).values():
            _call(plugin, "set_owner", owner)
            _call(plugin, "initialize")

    def finalize(self) -> None:
        """Finalizes all plugins, in the reverse order; exceptions are logged."""
        for name, plugin in reversed(vars(self).items()):
            try:
                _call(plugin, "finalize")
            except Exception:  # noqa: BLE001  # the user's code: the others are finalized all the same
                _log.exception("plugin %r was not given back", name)


def _is_plugin(value: object) -> bool:
    return any(hasattr(value, verb) for verb in ("set_owner", "initialize", "finalize")) and not isinstance(value, type)


def _call(plugin: object, verb: str, *arguments: object) -> None:
    method = getattr(plugin, verb, None)
    if callable(method):
        method(*arguments)
