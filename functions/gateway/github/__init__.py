"""GitHub: what arrives from it, what is asked of it, what is published to it."""
