"""SubscriptionQueue: what waits for one subscription never exceeds its bounds, and its counts add up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trunkline.limits import FRAME_BYTES, MiB
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.queue import Subscriber, SubscriptionQueue
from trunklined.bus.queue_memory import QueueMemory


def quiet(_: Subscriber) -> None:
    """A wake that does nothing: the test takes when it likes."""


class QueueMachine(RuleBasedStateMachine):
    """A queue with several subscribers, beside a list that says what should wait."""

    @initialize(max_count=st.integers(1, 40), max_bytes=st.integers(1, 400))
    def begin(self, max_count: int, max_bytes: int) -> None:
        self.max_count, self.max_bytes = max_count, max_bytes
        self.memory = QueueMemory(MiB)
        self.queue = SubscriptionQueue("p", "g", max_count, max_bytes, self.memory)
        self.members: list[Subscriber] = []
        self.sequence = 0
        self.now = 1_000.0
        self.offered = self.taken = self.told = 0
        self.waiting: dict[int, tuple[int, bytes, float | None]] = {}
        self.seen: set[int] = set()

    @rule(credit=st.one_of(st.none(), st.integers(0, 20)))
    def join(self, credit: int | None) -> None:
        member = Subscriber(len(self.members), "peer", credit, quiet)
        self.queue.join(member)
        self.members.append(member)

    @precondition(lambda self: len(self.members) > 1)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.members))
        self.members.remove(member)
        assert not self.queue.leave(member)

    @precondition(lambda self: self.members)
    @rule(
        level=st.integers(0, 3),
        sizes=st.lists(st.integers(0, 60), min_size=1, max_size=50),
        ttl=st.one_of(st.none(), st.integers(0, 5)),
        gap=st.booleans(),
    )
    def offer(self, level: int, sizes: list[int], ttl: int | None, gap: bool) -> None:
        self.sequence += gap
        messages = [bytes(size) for size in sizes]
        expires_at = None if ttl is None else self.now + ttl
        run = MessageBatch("c", level, messages, sum(sizes), expires_at, self.sequence + 1)
        for message in messages:
            self.sequence += 1
            self.waiting[self.sequence] = (level, message, expires_at)
        self.offered += len(messages)
        dropped_before = self.queue.drops.lagged
        self.memory.add(run, 1)
        self.queue.offer(run)
        for _ in range(self.queue.drops.lagged - dropped_before):
            del self.waiting[min(self.waiting)]

    @precondition(lambda self: self.members)
    @rule(data=st.data(), max_messages=st.integers(1, 60))
    def take(self, data: st.DataObject, max_messages: int) -> None:
        member = data.draw(st.sampled_from(self.members))
        credit = member.credit
        self.forget_expired_heads()
        run = self.queue.take(member, max_messages, self.now)
        if run is None:
            alive = [each for each in self.waiting.values() if each[2] is None or each[2] >= self.now]
            assert not alive or credit == 0, "who has credit gets something as long as there is something"
            return
        assert 1 <= len(run.messages) <= max_messages
        assert credit is None or member.credit == credit - len(run.messages) >= 0
        assert run.size == sum(map(len, run.messages))
        for offset, message in enumerate(run.messages):
            sequence = run.first_sequence + offset
            level, expected, expires_at = self.waiting.pop(sequence)
            assert sequence not in self.seen, "nothing twice"
            self.seen.add(sequence)
            assert (level, expected) == (run.level, message)
            assert expires_at is None or expires_at >= self.now, "nothing expired"
            for other, (other_lane, _, other_expiry) in self.waiting.items():
                if other_expiry is None or other_expiry >= self.now:
                    assert (-other_lane, other) > (-level, sequence), "priority first, then the order of publication"
        self.taken += len(run.messages)

    @rule()
    def take_all(self) -> None:
        self.forget_expired_heads()
        runs = self.queue.take_all(self.now)
        given = [(run.level, run.first_sequence + offset) for run in runs for offset in range(len(run.messages))]
        assert given == sorted(
            ((each[0], number) for number, each in self.waiting.items()), key=lambda at: (-at[0], at[1])
        )
        self.taken += len(given)
        self.waiting.clear()

    def forget_expired_heads(self) -> None:
        """What has expired is dropped when it comes to the head of its lane."""
        for level in range(4):
            for sequence in sorted(each for each, (its_lane, _, _) in self.waiting.items() if its_lane == level):
                expires_at = self.waiting[sequence][2]
                if expires_at is None or expires_at >= self.now:
                    break
                del self.waiting[sequence]

    @precondition(lambda self: self.queue.count)
    @rule(weight=st.integers(1, 4_000))
    def give_way(self, weight: int) -> None:
        before, evicted = self.queue.weight, self.queue.drops.evicted
        self.queue.give_way(weight)
        assert self.queue.weight <= max(0, before - weight), "so much is free, if there was so much"
        dropped = self.queue.drops.evicted - evicted
        assert dropped, "and something in any case"
        for _ in range(dropped):
            del self.waiting[min(self.waiting)]

    @precondition(lambda self: self.members)
    @rule(data=st.data(), messages=st.integers(1, 10))
    def grant(self, data: st.DataObject, messages: int) -> None:
        data.draw(st.sampled_from(self.members)).grant(messages)

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def tell(self) -> None:
        self.told += self.queue.tell_dropped()

    @invariant()
    def stays_within_its_bounds_and_adds_up(self) -> None:
        if not hasattr(self, "queue"):
            return
        queue = self.queue
        assert 0 <= queue.count <= self.max_count
        assert 0 <= queue.size <= self.max_bytes
        lost = queue.drops
        assert self.offered == self.taken + lost.lagged + lost.evicted + lost.expired + queue.count
        assert lost.lagged + lost.evicted == self.told + queue.untold
        assert self.memory.size == queue.weight >= queue.size, "nobody else holds anything"
        assert queue.count or not queue.weight
        assert sum(member.delivered for member in self.members) <= self.taken

    def teardown(self) -> None:
        if not getattr(self, "members", None):
            return
        *others, last = self.members
        for member in others:
            assert not self.queue.leave(member)
        assert self.queue.leave(last)
        assert (self.queue.count, self.queue.size, self.queue.weight, self.memory.size) == (0, 0, 0, 0)
        lost = self.queue.drops
        assert self.offered == self.taken + lost.lagged + lost.evicted + lost.expired + lost.vanished


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(0, FRAME_BYTES + 10), min_size=1, max_size=12), st.lists(st.integers(1, 5), min_size=1))
@settings(max_examples=40, deadline=None)
def test_a_frames_worth_is_taken_at_most(sizes: list[int], cuts: list[int]) -> None:
    """What is taken at once has at most a frame's bytes, or is one message; all of it comes, in order."""
    memory = QueueMemory(1_000 * FRAME_BYTES)
    queue = SubscriptionQueue("p", "", 1_000, 100 * FRAME_BYTES, memory)
    subscriber = Subscriber(1, "peer", None, quiet)
    queue.join(subscriber)
    sequence = 1
    rest = [bytes(size) for size in sizes]
    for cut in [*cuts, len(rest)]:
        part, rest = rest[:cut], rest[cut:]
        if part:
            batch = MessageBatch("c", 1, part, sum(map(len, part)), None, sequence)
            memory.add(batch, 1)
            queue.offer(batch)
            sequence += len(part)
    came: list[int] = []
    while (run := queue.take(subscriber, 512, 0.0)) is not None:
        assert run.size <= FRAME_BYTES or len(run.messages) == 1
        came += map(len, run.messages)
    assert came == sizes
    assert memory.size == queue.weight == 0


def test_wakes_who_can_take() -> None:
    """A new run wakes the subscriber, a grant wakes who ran out of credit, and joining wakes when something waits."""
    woken: list[Subscriber] = []
    memory = QueueMemory(MiB)
    queue = SubscriptionQueue("p", "g", 10, 1_000, memory)
    first = Subscriber(1, "peer", 1, woken.append)
    queue.join(first)
    assert woken == []
    batch = MessageBatch("c", 1, [b"x", b"y"], 2, None, 1)
    memory.add(batch, 1)
    queue.offer(batch)
    assert woken == [first]
    assert queue.take(first, 10, 0.0) is not None
    first.grant(1)
    assert woken == [first, first]
    second = Subscriber(2, "peer", None, woken.append)
    queue.join(second)
    assert woken == [first, first, second]
    assert queue.take(second, 10, 0.0) is not None
    first.grant(1)
    assert woken == [first, first, second], "nothing waits: nobody is woken"
