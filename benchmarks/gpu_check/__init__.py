"""The acceptance run of a machine's GPU: each fast path equal to its plain twin, and how fast."""
