"""What is measured, in the order of the report."""

from __future__ import annotations

from scripts.bench.work import Work
from scripts.bench.works.backlog import BACKLOG_CONSUME, BACKLOG_PUBLISH
from scripts.bench.works.channel import CHANNEL_PROCESS, CHANNEL_THREAD
from scripts.bench.works.durable import DURABLE, DURABLE_REDIS
from scripts.bench.works.fan_out import FAN_OUT
from scripts.bench.works.live import LIVE, LIVE_BYTES, LIVE_SECURED
from scripts.bench.works.parts import PARTS_WORK
from scripts.bench.works.replicas import LIVE_REPLICAS
from scripts.bench.works.request import REQUEST, REQUEST_LATENCY, REQUEST_SECURED
from scripts.bench.works.state import STATE_GET, STATE_REDIS, STATE_SAVE
from scripts.bench.works.stored import STORED, STORED_ALONE, STORED_REDIS

WORKS: tuple[Work, ...] = (
    *(LIVE, LIVE_BYTES, LIVE_REPLICAS, REQUEST, REQUEST_LATENCY, PARTS_WORK, STATE_SAVE, STATE_GET, FAN_OUT),
    *(LIVE_SECURED, REQUEST_SECURED),
    *(STORED_REDIS, DURABLE_REDIS, STATE_REDIS),
    *(STORED, DURABLE, STORED_ALONE),
    *(BACKLOG_PUBLISH, BACKLOG_CONSUME),
    *(CHANNEL_THREAD, CHANNEL_PROCESS),
)
