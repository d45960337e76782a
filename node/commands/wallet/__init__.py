"""Commands on keys and balances: key, account, tx."""
