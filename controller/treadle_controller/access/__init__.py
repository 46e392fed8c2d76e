"""Who calls, and what they may do.

    connection --TLS--> door --unix socket--> gRPC server --> api.guard --> service
                         | certificate: who            | policy: may they
                         +-- identities: revoked?      +-- audit

`authority` signs certificates; everything that they say of somebody is in their names: `treadle:agent/NAME`, or
`treadle:client/NAME` with one `treadle:role/NAMESPACE/ROLE` for each namespace. `identities` knows tokens (by their
hashes) and what was revoked. `policy` is the one table of who may call what.
"""
