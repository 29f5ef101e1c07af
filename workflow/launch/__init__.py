"""Starting jobs: preloaded libraries, locks, GPU leases."""
