"""`make demo`: a small world on the documented ports, a tour through it, some load, and how to connect."""
