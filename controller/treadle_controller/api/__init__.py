"""The gRPC services: thin adapters between the wire and the leader."""
