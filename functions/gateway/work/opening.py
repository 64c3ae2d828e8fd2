"""From settings to a worker. Nothing is connected yet: that happens where it is first used."""
