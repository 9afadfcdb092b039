"""What is measured, in the order of the report."""

from __future__ import annotations

from trunkline.bench.work import Work
from trunkline.bench.works.backlog import BACKLOG_CONSUME, BACKLOG_PUBLISH
from trunkline.bench.works.channel import CHANNEL_PROCESS, CHANNEL_THREAD
from trunkline.bench.works.durable import DURABLE
from trunkline.bench.works.fan_out import FAN_OUT
from trunkline.bench.works.live import LIVE
from trunkline.bench.works.request import REQUEST, REQUEST_LATENCY
from trunkline.bench.works.state import STATE_GET, STATE_SAVE
from trunkline.bench.works.stored import STORED, STORED_ALONE

WORKS: tuple[Work, ...] = (
    *(LIVE, REQUEST, REQUEST_LATENCY, STATE_SAVE, STATE_GET, FAN_OUT),
    *(STORED, DURABLE, STORED_ALONE),
    *(BACKLOG_PUBLISH, BACKLOG_CONSUME),
    *(CHANNEL_THREAD, CHANNEL_PROCESS),
)
