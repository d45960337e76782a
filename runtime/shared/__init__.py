"""Values and arithmetic of several floors: documents, finality, leaders, payouts, elections."""
