"""Claude Code as a service: the SDK, the command line and what gateway and runner share."""

__version__ = "0.1.0"
