"""Each line of what people of ConductorAI know has a test; this says which, and that it is there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
BUS, REQUESTS, STATE = (f"contract/test_{name}.py" for name in ("message_bus", "message_bus_requests", "state_manager"))
MESSAGE, STATES, PROMISES = "models/test_agent_message.py", "models/test_states.py", "conductor/test_promises.py"
RETRY, BREAKER = "failures/test_retry_policy.py", "failures/test_circuit_breaker.py"
HANDLER, LETTERS = "failures/test_error_handler.py", "failures/test_dead_letter_queue.py"
SETTLING, KEPT = "contract/test_message_bus_durable_settling.py", "contract/test_message_bus_durable_subscriptions.py"

TESTS_OF_THE_BUS = {
    "ABC conformance": (PROMISES, "both_are_abstract_and_both_pairs_are_what_they_say"),
    "publish, subscribe, delivery": (BUS, "publish_delivers_to_every_callback"),
    "publish without a subscriber": (BUS, "no_subscriber_is_no_error"),
    "several subscribers": (BUS, "publish_delivers_to_every_callback"),
    "unsubscribe: the whole channel": (BUS, "unsubscribe_removes_this_bus_objects_callbacks"),
    "unsubscribe: isolation": (PROMISES, "unsubscribe_leaves_other_channels_alone"),
    "unsubscribe: idempotent": (BUS, "unsubscribing_an_unknown_channel_is_fine"),
    "channel isolation": (PROMISES, "the_well_known_channels_do_not_meet"),
    "request/response: correlation": (REQUESTS, "a_request_gets_its_reply"),
    "request/response: priority": ("conductor/test_seed_program.py", "request_and_respond"),
    "request timeout": (REQUESTS, "at_the_deadline_it_raises"),
    "correlation_id set by itself": (REQUESTS, "sets_the_correlation_id_on_a_copy"),
    "lifecycle: reset": (BUS, "connect_starts_clean"),
    "lifecycle: idempotent": (BUS, "connect_and_disconnect_are_idempotent"),
    "not connected: each call": (BUS, "publish_needs_connect"),
    "count": (BUS, "published_count_counts_what_this_bus_object_published"),
    "expired messages": (BUS, "an_expired_message_is_dropped_and_not_counted"),
    "a callback's error": (BUS, "a_callbacks_exception_is_logged_and_hits_nobody_else"),
    "disconnect fails what is pending": (REQUESTS, "disconnect_fails_what_is_pending"),
}
TESTS_OF_THE_STORE = {
    "ABC conformance": (PROMISES, "both_are_abstract_and_both_pairs_are_what_they_say"),
    "agent states: save, get, list, delete": (PROMISES, "several_agents_are_kept_apart"),
    "what is missing is None": (STATE, "get_of_a_missing_record_is_none_and_delete_of_one_is_false"),
    "overwrite": (STATE, "last_write_wins"),
    "several entities": (PROMISES, "several_agents_are_kept_apart"),
    "workflow states: save, get": (STATE, "workflows_and_results_have_list_delete_and_versions"),
    "task results: save, get": (STATE, "workflows_and_results_have_list_delete_and_versions"),
    "connect, disconnect": (STATE, "connect_and_disconnect_are_idempotent"),
    "kinds are isolated": (STATE, "equal_ids_in_different_entities_do_not_meet"),
    "rich data": (PROMISES, "a_workflow_keeps_its_history"),
}
MODELS = {
    "unknown fields": (MESSAGE, "unknown_fields_are_ignored"),
    "ids": (MESSAGE, "ids_are_new_each_time"),
    "times": (MESSAGE, "times_of_other_zones_are_kept_in_utc"),
    "AgentMessage": (MESSAGE, "the_defaults"),
    "AgentMessage: required": (MESSAGE, "what_is_required"),
    "AgentMessage.is_expired": (MESSAGE, "is_expired"),
    "AgentMessage.create_response": (MESSAGE, "create_response"),
    "ttl_seconds": (MESSAGE, "a_ttl_is_at_least_1"),
    "AgentState": (STATES, "agent_state_defaults"),
    "AgentState: properties": (STATES, "agent_state_properties"),
    "WorkflowState": (STATES, "workflow_state_defaults"),
    "WorkflowState: properties": (STATES, "workflow_state_properties"),
    "TaskResult": (STATES, "task_result"),
    "TaskDefinition": (STATES, "task_definition"),
    "counts": (STATES, "counts_are_not_below_zero"),
    "enums": (STATES, "enums_are_strings"),
    "names of other languages": (STATES, "any_name_is_taken_where_other_languages_have_their_own"),
    "channels": ("words/test_channels.py", "the_well_known_channels"),
    "channels in use": (PROMISES, "the_well_known_channels_do_not_meet"),
}
BUS_AND_STORE = {
    "a bus outside a loop": (BUS, "constructed_without_arguments_and_outside_an_event_loop"),
    "a store outside a loop": (PROMISES, "a_store_is_made_outside_an_event_loop"),
    "publish resolves a request": (REQUESTS, "publish_resolves_a_pending_request"),
    "not the request itself": (REQUESTS, "the_request_published_again_does_not_answer_itself"),
    "in memory it waits for callbacks": (BUS, "in_memory_publish_returns_when_all_callbacks_are_done"),
    "subscribe is in effect": (BUS, "subscribe_is_in_effect_on_return"),
    "callbacks publish": (BUS, "callbacks_may_publish_without_a_deadlock"),
    "callbacks request": (REQUESTS, "callbacks_may_request_without_a_deadlock"),
    "a reply on any channel": (REQUESTS, "reply_on_any_channel"),
    "a request and its reply count two": (REQUESTS, "a_request_and_its_reply_by_the_same_object_count_two"),
    "nested models": (STATE, "nested_models_and_dicts_come_back_equal"),
    "in memory it is empty afterwards": (STATE, "the_in_memory_manager_is_empty_after_disconnect"),
    "a store that is not connected": (STATE, "not_connected_raises_in_every_verb"),
    "ConductorError": ("conductor/test_errors.py", "it_describes_itself"),
    "ConductorError is the root": ("conductor/test_errors.py", "it_catches_what_a_bus_and_a_store_raise"),
}
FAILURES = {
    "figures": (PROMISES, "policies_have_the_figures_that_people_know"),
    "delays and jitter": (RETRY, "delays_grow_to_the_maximum_and_jitter_adds_a_tenth_at_the_most"),
    "retries": (RETRY, "a_retryable_error_is_tried_again_later_each_time"),
    "retryable codes": (RETRY, "codes_name_error_codes_and_classes"),
    "five failures open": (BREAKER, "five_failures_in_a_row_open_it"),
    "two successes close": (BREAKER, "after_a_minute_two_successes_close_it"),
    "one failure reopens": (BREAKER, "one_failed_trial_opens_it_for_another_minute"),
    "the decision": (HANDLER, "errors_are_retried_escalated_or_given_up"),
    "escalation": (HANDLER, "an_escalation_is_told_as_critical_and_is_no_dead_letter"),
    "dead letter": (HANDLER, "a_dead_letter_is_kept_and_told"),
    "an entry": (LETTERS, "an_entry_has_all_that_people_of_conductor_know"),
    "on a bus of one's own": ("conductor/test_own_classes.py", "an_error_handler_tells_on_it"),
}
BETTER = {
    "a preset correlation id": (REQUESTS, "a_preset_correlation_id_does_not_return_the_request_itself"),
    "the deadline": (REQUESTS, "the_deadline_counts_from_the_call"),
    "a cancelled request": (REQUESTS, "a_cancelled_request_leaves_nothing_behind"),
    "messages by value": (BUS, "values_are_copied_at_the_border"),
    "records by value": (STATE, "values_are_copied_at_the_border"),
    "a naive timestamp": (MESSAGE, "a_naive_timestamp_is_refused_when_the_message_is_made"),
    "a payload that is no JSON": (MESSAGE, "a_payload_that_is_no_json_is_refused_when_the_message_is_made"),
    "unsubscribe one of several": (BUS, "messages_is_an_iterator_of_what_is_published"),
    "list and delete for all": (STATE, "workflows_and_results_have_list_delete_and_versions"),
    "versions": (STATE, "expected_revisions_are_compared"),
    "records outlive the service": ("state/test_program.py", "a_write_that_was_answered_survives_kill_9"),
    "messages outlive the service": ("faults/test_durable_faults.py", "a_bus_that_is_killed_goes_on_where_it_was"),
    "delivery": (SETTLING, "a_callback_that_raises_gets_it_again"),
    "delivery to who comes later": (KEPT, "it_keeps_what_matches_while_nobody_takes"),
    "back-pressure": ("client/test_grpc_bus.py", "the_buffer_is_bounded_whatever_the_channels"),
    "order": (BUS, "one_publishers_messages_arrive_in_order"),
    "across processes": ("faults/test_isolation.py", "a_subscriber_that_is_killed_in_the_middle_is_forgotten"),
}
ALL = [
    (f"{table}: {line}", file, f"test_{name}")
    for table, lines in (
        ("its tests of the bus", TESTS_OF_THE_BUS),
        ("its tests of the store", TESTS_OF_THE_STORE),
        ("models", MODELS),
        ("bus and store", BUS_AND_STORE),
        ("failures", FAILURES),
        ("better", BETTER),
    )
    for line, (file, name) in lines.items()
]


@cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("file", "name"), [row[1:] for row in ALL], ids=[row[0] for row in ALL])
def test_it_has_its_test(file: str, name: str) -> None:
    """A test that is renamed or goes is missed here."""
    assert name in _tests_in(file)
