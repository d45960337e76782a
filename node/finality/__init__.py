"""How blocks become final: consensus carried out, its write-ahead log, its status."""
