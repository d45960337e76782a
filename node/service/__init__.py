"""A running node: every room wired together, started and stopped in order."""
