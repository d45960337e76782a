"""The strategies of lying, each with a name, a sentence and the parties that follow it."""
