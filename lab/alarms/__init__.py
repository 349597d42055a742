"""Alarms, one a file, listed here and nowhere else: what a monitor of the service would have rung for, and when.

An alarm is no verdict. It says when a person would have been called, and which page in docs/runbooks/ they would open.
"""

from __future__ import annotations

from lab.alarms.alarm import Alarm
from lab.alarms.commit_rate import ALARM as COMMIT_RATE
from lab.alarms.drift import ALARM as DRIFT
from lab.alarms.lag import ALARM as LAG
from lab.alarms.latency import ALARM as LATENCY
from lab.alarms.out_of_order import ALARM as OUT_OF_ORDER
from lab.alarms.queue import ALARM as QUEUE

ALARMS: dict[str, Alarm] = {alarm.name: alarm for alarm in (LATENCY, COMMIT_RATE, LAG, DRIFT, QUEUE, OUT_OF_ORDER)}

__all__ = ["ALARMS", "Alarm"]
