"""What several floors need: documents, finality, leaders, payouts, elections."""
