"""The base model that the repository ships, and the way any other local base is loaded."""
