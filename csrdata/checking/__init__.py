"""What `csrdata check` looks at: one file per subject, plain functions that return findings."""
