"""The gateway over HTTP: Flask routes around `gateway.service`, and what every answer carries."""
