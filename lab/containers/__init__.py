"""The container plane: the same experiment against real replicas in Docker, every link through a real Toxiproxy."""
