"""How blocks are made: by a solo author, or by the leader of a view."""
