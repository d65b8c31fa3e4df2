"""The Redis side of a worker: listeners, connections to servers, and every command that the relay does not decide."""
