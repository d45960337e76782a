"""The protocols between peers, sans-IO: what comes in and the time go in, what to do comes out."""
