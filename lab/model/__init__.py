"""The world a protocol lives in: links, nodes, workload and policies."""
