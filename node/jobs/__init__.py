"""The node's part in jobs: their inputs, the executor process, committed answers, replicas."""
