"""What a worker counts, and the port where it shows that: metrics, and probes for supervisors.

`jobs` adds to the counts once for each batch; the port reads them. May import `engine` and
`settings`.
"""
