"""Authentication towards clients (`server`) and towards backends (`client`), without a socket."""
