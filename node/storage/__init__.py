"""What lies on disk: the chain's LevelDB, its state layout, blobs, receipts, logs, snapshots."""
