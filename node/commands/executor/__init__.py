"""Commands of executors: the profile of this machine, joining, the record on chain."""
