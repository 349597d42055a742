"""Where everything is in the block `M` of int64: registers at fixed places, then the regions they point to."""

from __future__ import annotations

# Errors: 0 is none. After an error the run is repeated with more room, or reported; its results are never used.
QUEUE_FULL = 1
OUTBOX_FULL = 2
OBSERVATIONS_FULL = 3
OPERATIONS_FULL = 4
STATE_FULL = 5
TRACE_FULL = 6
BUDGET_SPENT = 7
AUTHOR_MISTAKE = 8
TOO_MANY_OPERATIONS = 9

# Outcome of the run.
ERROR = 0
ERROR_SITE = 1  # where in the protocol (index into SITES), or the node of the last event
ERROR_VALUE = 2  # the offending number, the room that was missing, or what the last event was
NOW = 3
EVENTS = 4
TRACE_HASH = 5
SEED = 6

# The scenario.
NODES = 8
REPLICAS = 9
HORIZON = 10
EVENTS_MAX = 11
SERVICE_NS = 12
INBOX_LIMIT = 13
EPOCHS = 14
BOUNDARIES_AT = 15  # one word an epoch: when it begins
LINKS = 16  # nodes * nodes, or 1 where all links share one row
CLASSES_AT = 17  # epochs * links: which row is in force
ROWS_AT = 18
KINDS = 19  # message kinds are below this
PAUSES = 20
PAUSES_AT = 21  # node, start, stop
OUTAGES = 22
OUTAGES_AT = 23  # node, start, stop, wipes
SETTINGS = 24
SETTINGS_AT = 25  # number, value, at
SETTING_COUNT = 26  # how many different settings the protocol has
BURST_GOOD_TABLE = 27  # -1: no bursts
BURST_BAD_TABLE = 28
BURST_GOOD_PPM = 29
BURST_BAD_PPM = 30

# The workload.
POISSON = 32
RATE = 33
DURATION = 34
KEYS = 35
GAP_TABLE = 36
ZIPF_TABLE = 37  # -1: uniform
SPIKES = 38
SPIKES_AT = 39  # at, stop, rate
OPERATIONS = 40
OPERATIONS_AT = 41  # time, key; behind them as much room again for sorting
OPERATIONS_CAP = 42

# Links that remember, replicas that differ in service.
EXTRAS_AT = 43  # beside ROWS_AT: one a class
MEMORY_AT = 44
MEMORY_STRIDE = 45  # words a link where all links share one row, else 0
SIZES_AT = 46  # bytes per message kind
CORRUPTED_AT = 47  # per link and kind

# Pending events.
SEQUENCE = 48
QUEUE_AT = 49
QUEUE_CAP = 50
QUEUE_USED = 51  # records that were ever in use
FREE = 52
NEXT_AT = 53
NEAR = 54
NEAR_AT = 55
NEAR_IS_HEAP = 56
RING_AT = 57
RING_MASK = 58
WIDTH = 59
TODAY = 60
FAR = 61
DUE_HEAD = 62
DUE_TAIL = 63
DAYS_PASSED = 64
DAYS_EVENTS = 65
SERVICES_AT = 66  # per replica: where its table begins (-1: no service), inbox limit
SERVICE_TABLES_AT = 67

# Disturbed replicas and wrong clocks.
STAGES = 68
STAGES_AT = 69  # node, start, stop, what, wait, mask of kinds
HELD_AT = 70  # per stage, words of `lab.core.nodes`
SKEWS = 71
SKEWS_AT = 91  # node, start, stop, offset, drift, strobe
READS_AT = 95  # per skew: how often the clock was read
STAGE_WORDS = 6
SKEW_WORDS = 6

# Effects and facts.
OUT = 72
OUT_AT = 73
OUT_CAP = 74
SEEN = 75  # observations so far
SEEN_AT = 76
SEEN_CAP = 77
TRACED = 78
TRACE_AT = 79
TRACE_CAP = 80
EPOCH = 81
COUNTERS = 82
COUNTERS_AT = 83
NODES_AT = 84
CURRENT_AT = 85  # per setting: whether it was switched, value
CELLS_AT = 86  # per link and kind
EVIDENCE_AT = 87  # per epoch and link
BURSTS_AT = 88  # per link: sojourn number, when it ends
SCRATCH_AT = 89  # begin and length of what a run starts with zeroed
SCRATCH_SIZE = 90

# State of the protocol; sizes of dimensions, begin of each group of fields, parameters.
STATE_AT = 92
STATE_CAP = 93
STATE_SIZE = 94
SIZES = 96
SIZE_UPDATES = 96
SIZE_KEYS = 97
SIZE_NODES = 98
SIZE_SAMPLES = 99  # nodes * the parameter `window`
GROUPS = 104
GROUPS_MAX = 24
PARAMETERS = 128
PARAMETERS_MAX = 64
REGISTERS = 192
RING_SMALLEST = 256

# A pending event: 8 words. The first of the two words of a near event is its time, the second (sequence << 24) + slot.
RECORD = 8
R_TIME = 0
R_TAG = 1
R_META = 2
R_KEY = 3
R_A = 4
SLOT_BITS = 24
SLOT_MASK = 16777215

# meta: what, kind << 4, node << 12, source << 32, incarnation << 52.
START = 0
MESSAGE = 1
TIMER = 2
OPERATION = 3
SET = 4
CRASH = 5
RESTART = 6
SERVED = 7
HELD = 8
WHAT_MASK = 15
KIND_MASK = 255
NODE_MASK = 1048575
INCARNATION_MAX = 2047

# A node's words.
NODE_WORDS = 4
N_DOWN = 0
N_INCARNATION = 1
N_BUSY_UNTIL = 2
N_INBOX = 3

# An effect in the out-box: meta without source, delay, a, b, c, d, key.
EFFECT = 8
SEEN_WORDS = 4  # time, what + (node << 8), a, b
TRACE_WORDS = 8  # time, meta, key, a, b, c, d, sequence

# A link's counters: per kind for the history, per epoch for the faults' evidence.
CELL = 8
SENT = 0
DELIVERED = 1
LOST = 2
CUT_OFF = 3
DOWN = 4
DUPLICATED = 5
REORDERED = 6
OVERFLOW = 7
EVIDENCE = 8
E_CUT = 0
E_LOST = 1
E_DUPLICATED = 2
E_REORDERED = 3
E_DELAYED = 4
E_CORRUPTED = 5
E_HELD = 6

# A link row of `lab.core.fate`, and behind it whether it delivers at once and unharmed.
ROW_WORDS = 16
ROW_IDEAL = 15
EXTRA_WORDS = 40  # of `lab.core.stateful`
