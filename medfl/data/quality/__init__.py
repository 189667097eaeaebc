"""What `medfl data check` finds out about a site's images: facts of each case, and what could not be used and why."""
