"""The wire contract in Python, generated from protos/treadle/v1 by `make protos`."""
