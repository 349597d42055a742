"""Small protocols that exist to be compared with exact results: stations, probes, detectors, clients."""
