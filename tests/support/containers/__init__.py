"""The compose stack in real containers: `make check-containers`."""
