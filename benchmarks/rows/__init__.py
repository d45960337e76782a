"""The rows of the table: each a module with NAME, WORK and `run(effort)`."""
