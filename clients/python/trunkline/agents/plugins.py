"""PluginSet: what an agent takes along and gives back at its end, such as a connection."""

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

    What a plugin has of these is called, where the agent runs: `set_owner(agent)` and `initialize()` before `setup`,
    and `finalize()` after `on_close`. What `initialize` raises, the agent fails of.
    """

    def __init__(self, **plugins: Any) -> None:
        for base in reversed(type(self).__mro__):
            for name, value in vars(base).items():
                if not name.startswith("_") and _is_plugin(value):
                    setattr(self, name, copy.copy(value))
        for name, value in plugins.items():
            setattr(self, name, value)

    def initialize(self, owner: object) -> None:
        """Makes all of them ready for their owner, in their order."""
        for plugin in vars(self).values():
            _call(plugin, "set_owner", owner)
            _call(plugin, "initialize")

    def finalize(self) -> None:
        """Gives all of them back, in the reverse order; what one of them raises is logged."""
        for name, plugin in reversed(vars(self).items()):
            try:
                _call(plugin, "finalize")
            except Exception:  # noqa: BLE001  # the user's: it must not keep the others
                _log.exception("plugin %r was not given back", name)


def _is_plugin(value: object) -> bool:
    return any(hasattr(value, verb) for verb in ("set_owner", "initialize", "finalize")) and not isinstance(value, type)


def _call(plugin: object, verb: str, *arguments: object) -> None:
    method = getattr(plugin, verb, None)
    if callable(method):
        method(*arguments)
