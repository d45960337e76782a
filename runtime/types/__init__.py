"""Primitive types of the chain: headers, accounts, eras, signatures."""
