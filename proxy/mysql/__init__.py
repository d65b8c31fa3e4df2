"""The MySQL protocol up to the moment a connection is ready for commands, and the answers made here.

`server_handshake.serve_handshake` brings a client in, `client_handshake.connect_backend` reaches a server; both
give a plain, non-blocking socket that nobody else reads. `tls` and `certificates` put TLS under either,
`auth` proves passwords, `packets` builds and parses. Usable without the rest of Fairlead.
"""
