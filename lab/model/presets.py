"""Named networks, as `network: { preset: … }` writes them, and stable delays between regions of the world.

Every number has its source. Keys of the file override those of the preset, link by link and key by key.
"""

from __future__ import annotations

from typing import Any

from lab.core.laws import Law, parse_law

# Preset -> (the keys of `network` as in a file, what it is and where the numbers come from).
NETWORKS: dict[str, tuple[dict[str, Any], str]] = {
    "lan": (
        {"links": {"default": {"delay": "mixture(99.9%: uniform(100us, 800us), 0.1%: uniform(800us, 100ms))"}}},
        "one data centre: 99.9 % in 0.1-0.8 ms, a tail to 100 ms (FoundationDB's simulator, sim2.cpp)",
    ),
    "slow_lan": (
        {"links": {"default": {"delay": "mixture(99%: uniform(2ms, 5ms), 1%: uniform(5ms, 100ms))"}}},
        "2-5 ms with 1 % delays to 100 ms (AvailSim's LAN)",
    ),
    "wan": (
        {"links": {"default": {"delay": "uniform(30ms, 40ms)"}}},
        "30-40 ms one way (the WAN of the Raft dissertation)",
    ),
    "three_continents": (
        {},
        "stable delays between the replicas' `regions`: means of SimBlock's matrix of 2019, Pareto as there",
    ),
    "satellite": (
        {
            "links": {
                "default": {
                    "delay": "mixture(50%: 300ms, 50%: uniform(300ms, 350ms))",
                    "loss": "0.5%",
                    "bandwidth": "1250KB/s",
                }
            }
        },
        "geostationary: 300 ms one way and more, 0.5 % lost, 10 Mbit/s (happysim's satellite: 600 ms there and back; "
        "its exponential jitter of mean 50 ms is replaced by up to 50 ms for half of the messages)",
    ),
    "lossy_wifi": (
        {"links": {"default": {"delay": "40ms", "loss": "0.2%", "bandwidth": "3750KB/s"}}},
        "40 ms, 0.2 % lost, 30 Mbit/s (WIFI (good) in the profiles of tylertreat/comcast)",
    ),
    "mobile_3g": (
        {"links": {"default": {"delay": "250ms", "loss": "1.5%", "bandwidth": "93750B/s"}}},
        "250 ms, 1.5 % lost, 750 kbit/s (3G/HSDPA (good) in the profiles of tylertreat/comcast)",
    ),
    "mobile_edge": (
        {"links": {"default": {"delay": "300ms", "loss": "1.5%", "bandwidth": "31250B/s"}}},
        "300 ms, 1.5 % lost, 250 kbit/s (EDGE (good) in the profiles of tylertreat/comcast)",
    ),
    "poor_dsl": (
        {"links": {"default": {"delay": "70ms", "loss": "2%", "bandwidth": "250KB/s"}}},
        "70 ms, 2 % lost, 2 Mbit/s (DSL (poor) in the profiles of tylertreat/comcast)",
    ),
}

# Mean delays in ms between regions: SimBlock's NetworkConfiguration.java, LATENCY_2019.
REGIONS = ("north_america", "europe", "south_america", "asia_pacific", "japan", "australia")
MEANS_MS = (
    (32, 124, 184, 198, 151, 189),
    (124, 11, 227, 237, 252, 294),
    (184, 227, 88, 325, 301, 322),
    (198, 237, 325, 85, 58, 198),
    (151, 252, 301, 58, 12, 126),
    (189, 294, 322, 198, 126, 16),
)


def region_delay(source: str, target: str) -> Law:
    """Return the delay between two regions: Pareto with shape a fifth of the mean and minimum 5 ms below the mean.

    So SimBlock draws it (Network.java); its mean is the matrix's.
    """
    mean_ms = MEANS_MS[REGIONS.index(source)][REGIONS.index(target)]
    return parse_law(f"pareto(minimum={mean_ms - 5}ms, shape={mean_ms * 2 // 10}.{mean_ms * 2 % 10})")


def merged(preset: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of `given` over those of `preset`, mapping by mapping."""
    result = dict(preset)
    for key, value in given.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result
