"""What the guides for people who come from elsewhere name is there: the names that people know, and their rows."""

from __future__ import annotations

import pytest

from tests.conductor.test_seed_program import SHOWN
from tests.house.names import check_name
from tests.house.page import PAGES

CONDUCTOR = "docs/from-conductorai.md"
PYORCHESTRATE = "docs/from-pyorchestrate.md"
NAMES = {
    CONDUCTOR: (
        *SHOWN,
        *("connect", "disconnect", "publish", "subscribe", "unsubscribe", "request", "is_connected", "published_count"),
        *("save_agent_state", "get_agent_state", "list_agent_states", "delete_agent_state"),
        *("save_workflow_state", "get_workflow_state", "save_task_result", "get_task_result"),
        *("conductor:agent:{id}", "conductor:phase:{name}", "conductor:workflow:{id}", "conductor:broadcast"),
        *("conductor:dlq", "conductor:response", "conductor:errors"),
        *("message_id", "message_type", "sender_id", "recipient_id", "payload", "correlation_id", "priority"),
        *("timestamp", "ttl_seconds", "metadata", "is_expired", "create_response", "to_dict"),
        *("is_available", "total_tasks", "success_rate", "is_running", "is_complete", "duration_seconds"),
        *("completed_task_count", "failed_task_count"),
        *("REQUEST_TIMEOUT", "BUS_NOT_CONNECTED", "BUS_DISCONNECTED", "MESSAGE_BUS_ERROR", "STATE_ERROR"),
    ),
    PYORCHESTRATE: (
        *("BaseAgent", "BaseProcessAgent", "BaseThreadAgent", "LoopingProcessAgent", "LoopingThreadAgent"),
        *(
            "PeriodicProcessAgent",
            "PeriodicThreadAgent",
            "PoolAgent",
            "Config",
            "Plugin",
            "StateEvents",
            "ControlEvents",
        ),
        *("setup", "execute", "cycle", "runner", "run", "on_stop", "on_close", "on_message", "send_message", "logger"),
        *("start_event", "ready_event", "close_event", "stop_event", "setup_event", "execute_event", "kwargs"),
        *("RecoverableException", "NonRecoverableException", "LoggerConfig", "BaseClassConfig", "validate"),
        *("ValidationResult", "ValidationSeverity", "ValidationPolicy", "ConfigValidationError"),
        *("limit", "execution_interval", "delay_compensation", "logger_config", "validation_policy"),
        *("PluginManager", "ZeroMQPubSub", "OrchestratorHeartbeatPlugin", "Orchestrator", "RunMode", "AgentEntry"),
        *("max_workers", "check_interval", "run_mode", "enable_command_interface", "command_socket_path"),
        *("allowed_commands", "history_max_events", "register_agent", "custom_plugin", "add_dependency", "report"),
        *("validate_dependencies", "start", "stop", "join", "simple_join", "finalize", "register_event", "emit"),
        *("handle_agent_message", "msg_channel", "command_channel", "event_manager", "memory", "get_agent", "is_alive"),
        *("EventManager", "OrchestratorEvent", "AgentEvent", "EventStore", "EventRecord", "DependencyGraph"),
        *("MessageChannel", "ServiceMessage", "send", "receive", "close", "CLIENT_RECEIVE_TIMEOUT"),
        *(f"pyorchestrate {name}" for name in ("ps", "start", "stop", "status", "report", "stats", "history")),
        *(f"pyorchestrate {name}" for name in ("history-stats", "dependencies", "commands", "shutdown", "create")),
        *("pyorchestrate-web", "--socket", "--format"),
    ),
}
"""What people know, of each guide: each has its row."""

GUIDES = {page.name: page for page in PAGES if page.rows}
ROWS = [pytest.param(code, id=code) for guide in GUIDES.values() for _, here in guide.rows for code in here]


@pytest.mark.parametrize("code", ROWS)
def test_every_name_in_its_tables_exists(code: str) -> None:
    """With the arguments that are shown."""
    check_name(code)


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, names in NAMES.items() for name in names])
def test_every_name_that_people_know_has_its_row(page: str, name: str) -> None:
    """In the column "there"."""
    known = {code.partition("(")[0] for there, _ in GUIDES[page].rows for code in there}
    assert name in known


def test_no_table_is_lost_by_a_change_of_form() -> None:
    """The tables that these tests look for are there."""
    assert len(GUIDES[CONDUCTOR].rows) > 50
    assert len(GUIDES[PYORCHESTRATE].rows) > 90
