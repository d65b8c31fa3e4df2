"""Tables with lookups: entries kept with the rows, and an operator's tasks."""
