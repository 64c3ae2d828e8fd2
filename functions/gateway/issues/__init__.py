"""What a person on GitHub sees of a run, and what is read there: its words in and out."""
