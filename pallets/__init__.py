"""The business rules. This file is the one place that lists the pallets: the tuple that IS the chain."""
