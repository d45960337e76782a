"""Commands on answers: ask, receipt, verify."""
